"""Kubernetes objects as values: names, selectors, quantities, statuses."""
