"""Merge semantics: server-side apply, strategic merge, JSON patch, managed fields."""
