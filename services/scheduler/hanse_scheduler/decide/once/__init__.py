"""What must not be started twice: the work of Jobs, and objects of which there is at most one."""
