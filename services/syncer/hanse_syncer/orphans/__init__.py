"""Objects that carry the federation's marks in a member and that nothing explains."""
