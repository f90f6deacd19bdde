"""Writes of objects with Kubernetes' semantics: one module for each verb, and what the verbs share."""
