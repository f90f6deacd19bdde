"""Keys, authorities and what is at rest, on running federations."""
