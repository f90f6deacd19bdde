"""Processes that are kept running."""
