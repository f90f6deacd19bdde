"""Names of a running federation."""
