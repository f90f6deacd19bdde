"""Kubernetes' conformance specs that need nothing but an API server, run against the federation.

`suite/` is the program that has them, built from Kubernetes' own module; `specs` says which of them are run,
and `expected.txt` which are expected to fail, and why. Start at `tests.conformance.test_conformance`.
"""
