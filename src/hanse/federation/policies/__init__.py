"""The policies of hanse.dev: what makes one valid, what it names, and what a change of one would cost."""
