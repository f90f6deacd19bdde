"""What strategies of kinds are made of: defaults, rules and cells that several kinds have in common."""
