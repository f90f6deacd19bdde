"""The placement message: what is carried over from the one before, and how clusters are released."""
