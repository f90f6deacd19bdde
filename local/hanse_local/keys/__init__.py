"""Keys and certificates of a data directory."""
