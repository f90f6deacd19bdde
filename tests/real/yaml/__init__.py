"""YAML, read here and by a program on the module with which Kubernetes reads it."""
