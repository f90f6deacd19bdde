"""What all services agree on about clusters, placements and kinds: pure functions."""
