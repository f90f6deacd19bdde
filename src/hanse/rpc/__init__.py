"""RPC between the parts of Hanse: one way to serve, one way to call.

- `server`: RpcServer, with mutual TLS, health, reflection, policy, tracing, metrics and graceful stop
- `interceptor`: what every call goes through; `current_identity()`
- `policy`: who may call what
- `channel`, `calls`: RpcChannel, with deadlines, retries and HanseError raised
- `errors`: HanseError to google.rpc.Status and back
- `pagination`, `parents`, `filters`, `masks`, `etags`: the AIP's list and update, for servicers

Nothing is imported here: a client, which needs `channel` alone, is installed without what a server needs.

Next: `hanse.rpc.server`.
"""
