"""How an object is in a member, and how that gets into the store."""
