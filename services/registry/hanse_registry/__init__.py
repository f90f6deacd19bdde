"""The clusters of the federation: who belongs to it, how they are, and what they have."""
