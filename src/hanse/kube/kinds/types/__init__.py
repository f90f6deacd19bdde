"""What values of Kubernetes' own types must be, wherever a kind has them: a module per group of types."""
