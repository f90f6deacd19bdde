"""Jobs: which of their work is done, and what of it may be started."""
