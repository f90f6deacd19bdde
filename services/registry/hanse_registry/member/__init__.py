"""What one member is asked, and what its answers mean."""
