"""RPC between the parts of Hanse: one way to serve, one way to call.

- `server`: RpcServer, with mutual TLS, health, reflection, policy, tracing, metrics and graceful stop
- `interceptor`: what every call goes through; `current_identity()`
- `policy`: who may call what
- `channel`, `calls`: RpcChannel, with deadlines, retries and HanseError raised
- `errors`: HanseError to google.rpc.Status and back
- `pagination`, `masks`, `etags`, `watch`: the AIP's list, update and watch, for servicers

Next: `hanse.rpc.server`.
"""

from hanse.rpc.channel import RpcChannel
from hanse.rpc.errors import from_rpc_error
from hanse.rpc.interceptor import current_identity
from hanse.rpc.policy import AUTHENTICATED, Policy, group, service, user
from hanse.rpc.server import RpcServer

__all__ = [
    "AUTHENTICATED",
    "Policy",
    "RpcChannel",
    "RpcServer",
    "current_identity",
    "from_rpc_error",
    "group",
    "service",
    "user",
]
