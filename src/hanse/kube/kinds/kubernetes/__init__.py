"""Kubernetes' own kinds, as a current kube-apiserver serves them: a module per group, pure data."""
