"""What stored objects carry for the services alone, and what is made of it."""
