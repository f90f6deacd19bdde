"""Many Kubernetes clusters used as one, each left sovereign: the library that all services share."""

__version__ = "0.1.0"
