"""Where an object goes, and why: pure functions."""
