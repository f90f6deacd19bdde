"""Deletions: what deleted objects leave in members, and when that is gone."""
