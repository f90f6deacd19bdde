"""Backups of a federation, and how one is restored."""
