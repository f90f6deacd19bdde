"""The names of the federation: compiled from healthy addresses, served authoritatively."""
