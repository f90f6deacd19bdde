"""What the API server does with objects of Kubernetes' own kinds: a module per group of them."""
