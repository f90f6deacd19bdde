"""Members that are slow, refuse, hang, or lie: the others do not notice, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.chaos.bulk import Bulk, intent_everywhere, nothing_is_left
from tests.system.harness import NAMES, Federation, Witness, until
from tests.system.manifests import deployment
from tests.system.suite.base import replicas, until_in

SICK = "us-east"
HEALTHY = tuple(name for name in NAMES if name != SICK)
FAULTS: dict[str, dict[str, Any]] = {
    "429": {"action": "status", "code": 429, "retry_after": 1},
    "500": {"action": "status", "code": 500},
    "half of all requests fail": {"action": "status", "code": 503, "probability": 0.5},
    "nothing": {"action": "hang"},
    "cut": {"action": "drop"},
}
COUNT = 20


@contextmanager
def sick(federation: Federation, *rules: dict[str, Any]) -> Iterator[None]:
    """Let one member behave as the rules say; fails if a rule met no request."""
    api = federation.member(SICK)
    api.request("POST", "/_sim/faults", body={"rules": list(rules)})
    try:
        yield
        struck = [rule["struck"] for rule in api.request("GET", "/_sim/faults")["rules"]]
        assert all(struck), f"a fault met nobody: {struck} of {rules}"
    finally:
        api.request("DELETE", "/_sim/faults")


def ready(federation: Federation, name: str) -> bool:
    """Whether the federation finds a cluster ready."""
    conditions = federation.api.get("clusters.hanse.dev", "", name)["status"]["conditions"]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@pytest.fixture(autouse=True)
def recovered(federation: Federation) -> Iterator[None]:
    """Every test starts and ends with clusters that are ready."""
    yield
    until(lambda: all(ready(federation, name) for name in NAMES), what="all clusters are ready", seconds=60)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sick_member_delays_nobody_and_catches_up(federation: Federation, ns: str, fault: str) -> None:
    """While a member refuses or hangs, others get creations and updates; when it is well again it has
    exactly the intent; nothing was deleted but what somebody deleted meanwhile."""
    first = Bulk(federation.api, ns, COUNT, prefix="first")
    first.create()
    intent_everywhere(federation, first)
    healthy = [federation.member(name) for name in HEALTHY]
    second = Bulk(federation.api, ns, COUNT, prefix="second")
    with sick(federation, FAULTS[fault]):
        second.create()
        first.update("2")
        gone, again = list(first.values)[::3], list(first.values)[1::3]
        first.delete(gone)
        first.replace(again, "3")
        second.values |= first.values
        second.until_in(healthy, seconds=20)
    # The witness follows from here: while the member is sick it has nothing to tell.
    with Witness(federation.each, namespace=ns, resources=["configmaps"]) as witness:
        intent_everywhere(federation, second)
    assert {each.name for each in witness.deleted} <= {*gone, *again}
    nothing_is_left(federation, ns)


def test_an_empty_list_deletes_nothing(federation: Federation, ns: str) -> None:
    """A member that answers every list with nothing, after its watches were cut, loses nothing and changes
    nothing elsewhere: unknown is not empty."""
    bulk = Bulk(federation.api, ns, COUNT)
    bulk.create()
    federation.api.create("deployments.apps", ns, deployment(ns, "web", 6))
    intent_everywhere(federation, bulk)
    spread = dict.fromkeys(NAMES, 2)
    until(lambda: replicas(federation, "deployments.apps", ns, "web") == spread, what="2 replicas each")

    def uids() -> set[tuple[str, str]]:
        return {
            (cluster, item["metadata"]["uid"])
            for cluster, api in federation.each.items()
            for resource in ("configmaps", "deployments.apps")
            for item in api.list(resource, ns)
        }

    before = uids()
    marker = Bulk(federation.api, ns, 3, prefix="marker")
    with sick(federation, {"action": "drop", "verbs": ["watch"], "count": 40}, {"action": "empty"}):
        marker.create()
        bulk.update("2")
        marker.values |= bulk.values
        marker.until_in([federation.member(name) for name in HEALTHY], seconds=20)
        pid = federation.kill("syncer")  # whatever it knew, it now knows from empty lists only
        federation.await_back("syncer", not_pid=pid)
        late = Bulk(federation.api, ns, 1, prefix="late")
        late.create()
        marker.values |= late.values
        marker.until_in([federation.member(name) for name in HEALTHY], seconds=30)
    intent_everywhere(federation, marker)
    assert before <= uids()
    assert replicas(federation, "deployments.apps", ns, "web") == spread


def test_a_slow_member_delays_nobody(federation: Federation, ns: str) -> None:
    """With one member that takes a second for each write, the others have a bulk before it has."""
    bulk = Bulk(federation.api, ns, COUNT * 2)
    slow = {"action": "delay", "seconds": 2.0, "verbs": ["create", "patch", "update"], "namespaces": [ns]}
    with sick(federation, slow):
        bulk.create()
        bulk.until_in([federation.member(name) for name in HEALTHY], seconds=20)
        assert len(bulk.found(federation.member(SICK))) < len(bulk.values)
    intent_everywhere(federation, bulk)


def test_a_refused_deletion_is_finished_later(federation: Federation, ns: str) -> None:
    """An object whose deletion a member refuses has a tombstone until the member has let go of it."""
    bulk = Bulk(federation.api, ns, 2)
    bulk.create()
    intent_everywhere(federation, bulk)
    name = next(iter(bulk.values))
    with sick(federation, {"action": "status", "code": 500, "verbs": ["delete"], "namespaces": [ns]}):
        bulk.delete([name])
        until(
            lambda: all(not federation.member(n).find("configmaps", ns, name) for n in HEALTHY),
            what="the others let go",
        )
        assert federation.api.find("configmaps", ns, name) is None
        left = federation.api.get("tombstones.hanse.dev", ns, f"configmaps.{name}")
        assert SICK in {copy["cluster"] for copy in left["copies"]}
        assert federation.member(SICK).find("configmaps", ns, name)
    until_in(federation, (), "configmaps", ns, name)
    nothing_is_left(federation, ns)
