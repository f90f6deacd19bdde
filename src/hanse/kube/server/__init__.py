"""The Kubernetes API over HTTP: what turns requests into calls of the engine and back.

- `app`: the server itself, and how to embed it
- `request`: what a URL means; `negotiation`: what a client wants to get and what it sends
- `read`, `watch`, `write`: the verbs; `reviews`: questions about identity and permission
- `discovery`: what is served, `errors`: how failures are rendered
- `auth`: who is calling and may they

Next: `hanse.kube.server.app`.
"""
