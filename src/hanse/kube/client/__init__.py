"""The client of one Kubernetes API server."""
