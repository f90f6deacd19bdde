"""What the scheduler follows of the store, indexed."""
