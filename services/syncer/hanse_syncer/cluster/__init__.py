"""The controller of one member cluster: its queue, its connection to the member, and what it hears from both
sides."""
