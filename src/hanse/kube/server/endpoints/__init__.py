"""What answers a request, by verb."""
