"""One member: its connection, its requests, and what it shows."""
