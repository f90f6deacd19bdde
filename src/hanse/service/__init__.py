"""A service's process: from its settings to its exit status."""
