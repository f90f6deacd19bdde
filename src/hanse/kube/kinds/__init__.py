"""What Kubernetes knows about each kind: resources, defaults, versions, columns."""
