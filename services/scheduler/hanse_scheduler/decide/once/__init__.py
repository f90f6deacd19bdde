"""What must not be started twice: the work of Jobs."""
