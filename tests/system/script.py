"""The first page of the README, as commands: what a new user types, in this order.

`tests/system/suite/acceptance.py` runs these lines and says what each must show; `tests/docs` compares them
with the README. PORT stands for the port of the name server.

Concurrency: none. Next: `suite.acceptance`.
"""

from __future__ import annotations

MAKE_RUN = "make run"
MAKE_STOP = "make stop"
EXPORT = "export KUBECONFIG=.hanse/kubeconfig"
GET_CLUSTERS = "kubectl get clusters"
APPLY = "kubectl apply -f examples/shop/"
GET_ALL = "kubectl get deployments,services,configmaps -n shop"
ROLLOUT = "kubectl rollout status deploy/web -n shop"
MEMBER_VIEW = "kubectl --context eu-west get deploy,pods -n shop"
EXPLAIN = "hanse explain deploy/web -n shop"
DIG = "dig @127.0.0.1 -p <port> web.shop.hanse.svc.eu-west.example.org"
LOSE = "hanse sim stop us-east"
RETURN = "hanse sim start us-east"
MAKE_TEST = "make test"

SCRIPT = (
    MAKE_RUN,
    EXPORT,
    GET_CLUSTERS,
    APPLY,
    GET_ALL,
    ROLLOUT,
    MEMBER_VIEW,
    EXPLAIN,
    DIG,
    LOSE,
    RETURN,
    MAKE_STOP,
    MAKE_TEST,
)
"""All lines. `make test` is what runs this; nothing runs it again."""
