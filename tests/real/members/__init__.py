"""Real clusters as the members of a federation under test."""

from .members import RealMembers

__all__ = ["RealMembers"]
