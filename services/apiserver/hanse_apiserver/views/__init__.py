"""What is served out of what is stored."""
