"""Faults while work is going on: afterwards members equal the intent, and nothing was lost."""
