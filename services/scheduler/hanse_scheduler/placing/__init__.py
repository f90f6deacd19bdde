"""From a decision to the stored placement."""
