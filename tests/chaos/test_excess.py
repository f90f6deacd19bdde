"""Members that say too much: each is MISBEHAVING, with the bound, and the others do not notice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.bulk import Bulk, intent_everywhere
from tests.chaos.test_liars import state_of
from tests.chaos.test_members import COUNT, HEALTHY, SICK, ready, sick
from tests.system.harness import NAMES, Federation, Witness, until

CUT: dict[str, Any] = {"action": "drop", "verbs": ["watch"], "resources": ["configmaps"]}
EXCESS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "version": ("what an API server says of itself", [{"action": "huge", "paths": ["/version"]}]),
    "bomb": ("what an API server says of itself", [{"action": "bomb", "paths": ["/readyz"]}]),
    "catalogue": ("resources, more than 5000", [{"action": "catalogue", "paths": ["/apis"], "size": 20_000}]),
    "object": ("as an object", [{"action": "huge", "verbs": ["patch"], "resources": ["configmaps"]}]),
    "list": (
        "as a page of a list", [CUT, {"action": "huge", "verbs": ["list"], "resources": ["configmaps"]}],
    ),
    "endless list": (
        "more than 100000 objects", [CUT, {"action": "endless", "resources": ["configmaps"]}],
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def recovered(federation: Federation) -> Iterator[None]:
    """Every test ends with clusters that are ready."""
    yield
    until(lambda: all(ready(federation, name) for name in NAMES), what="all clusters are ready", seconds=150)


@pytest.mark.parametrize("excess", EXCESS)
def test_a_member_that_says_too_much_is_left_alone(federation: Federation, ns: str, excess: str) -> None:
    """Its state tells the bound; the others get what is new at once; nothing is deleted; it catches up."""
    says, rules = EXCESS[excess]
    first = Bulk(federation.api, ns, COUNT, prefix="first")
    first.create()
    intent_everywhere(federation, first)
    with sick(federation, *rules):
        second = Bulk(federation.api, ns, COUNT, prefix="second")
        second.create()
        second.values |= first.values
        second.until_in([federation.member(name) for name in HEALTHY], seconds=20)
        until(lambda: state_of(federation, SICK) == "Misbehaving", what="it is found out", seconds=90)
        assert says in _ready_message(federation, SICK)
        assert all(state_of(federation, name) == "Ready" for name in HEALTHY)
    with Witness(federation.each, namespace=ns, resources=["configmaps"]) as witness:
        until(lambda: ready(federation, SICK), what="it is ready again", seconds=150)
        intent_everywhere(federation, second)
    assert witness.deleted == []


def _ready_message(federation: Federation, name: str) -> str:
    conditions = federation.api.get("clusters.hanse.dev", "", name)["status"]["conditions"]
    return str(next(each["message"] for each in conditions if each["type"] == "Ready"))
