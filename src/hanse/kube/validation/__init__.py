"""Whether an object may be stored."""
