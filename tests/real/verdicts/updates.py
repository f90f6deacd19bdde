"""Services that change their type, in each of the ways in which a client says so.

What a member gives away itself (addresses, ports that nobody asked for) is left out of what is compared.
Concurrency: one Service at a time. Next: `tests.real.verdicts.verdicts`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from hanse.kube.model.objects import Object
from tests.real.verdicts.verdicts import NAMESPACE
from tests.support.machine.raw import raw
from tests.support.object_client import ObjectClient

_PORTS: Final = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]

SERVICES: Final[dict[str, dict[str, Any]]] = {
    "ClusterIP": {"type": "ClusterIP"},
    "Headless": {"type": "ClusterIP", "clusterIP": "None"},
    "NodePort": {"type": "NodePort", "externalTrafficPolicy": "Local"},
    "LoadBalancer": {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "loadBalancerClass": "example.com/lb",
        "allocateLoadBalancerNodePorts": False,
    },
    "ExternalName": {"type": "ExternalName", "externalName": "db.example.com"},
}
"""What is particular to each type."""

KINDS_OF_UPDATES: Final = ("put", "merge", "apply", "type")
"""How a client says it: the whole object, what differs, what it wants of its own, or the type alone."""

_GIVEN: Final = ("clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort")
_JSON: Final = "application/json"


class Updated(NamedTuple):
    """A status of HTTP, and the spec without what a member gives away."""

    status: int
    spec: Any


async def spec_after(client: ObjectClient, name: str, before: str, after: str, how: str) -> Updated:
    """Create a Service of one type, change it to another, and return what it is then."""
    collection = f"/api/v1/namespaces/{NAMESPACE}/services"
    path = f"{collection}/{name}"
    first = _service(name, SERVICES[before])
    applied = {"fieldManager": "m", "force": "true"}
    apply = "application/apply-patch+yaml"
    if how == "apply":
        created = await _send(client, "PATCH", path, first, apply, applied)
    else:
        created = await _send(client, "POST", collection, first)
    assert created[0] in (200, 201), created
    wanted = _service(name, SERVICES[after])
    match how:
        case "put":
            answer = await _send(client, "PUT", path, wanted)
        case "apply":
            answer = await _send(client, "PATCH", path, wanted, apply, applied)
        case "merge":
            gone = {field: None for field in SERVICES[before] if field not in SERVICES[after]}
            patch = {"spec": {**gone, **SERVICES[after]}}
            answer = await _send(client, "PATCH", path, patch, "application/merge-patch+json")
        case _:
            changed = {f: v for f, v in SERVICES[after].items() if f in ("type", "externalName")}
            answer = await _send(client, "PATCH", path, {"spec": changed}, "application/merge-patch+json")
    await raw(client, "DELETE", path)
    return Updated(answer[0], _comparable(answer[1].get("spec")) if answer[0] == 200 else None)


def _service(name: str, spec: dict[str, Any]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"a": "b"}, "ports": _PORTS, **spec},
    }


async def _send(
    client: ObjectClient,
    method: str,
    path: str,
    body: Object,
    content: str = _JSON,
    params: dict[str, str] | None = None,
) -> tuple[int, Any]:
    headers = {"Content-Type": content, "Accept": _JSON}
    status, _, answer = await raw(
        client, method, path, params=params, body=orjson.dumps(body), headers=headers
    )
    return status, orjson.loads(answer)


def _comparable(spec: Any) -> Any:
    out = {field: value for field, value in spec.items() if field not in _GIVEN}
    if out.get("clusterIP") != "None":
        out.pop("clusterIP", None)
    out["ports"] = [
        {field: value for field, value in port.items() if field != "nodePort"} for port in out["ports"]
    ]
    return out
