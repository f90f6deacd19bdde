"""The Kubernetes API: objects, merge semantics, and an engine that serves them over a store.

- pure functions on objects: `schema`, `validation`, `defaults`, `patch`, `apply`, `selectors`, `quantity`
- the engine: `catalogue`, `cache`, `resources`, put together in `engine`, served by `server`
- the client: `access`, `client`

Next: `hanse.kube.model.objects`.
"""
