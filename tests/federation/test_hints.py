"""What whoever writes an object may not expect."""

from __future__ import annotations

import pytest

from hanse.federation.kinds import KINDS
from hanse.federation.propagation import hints, placeable, propagates
from hanse.kube.kinds.kind import Kind
from hanse.kube.kinds.kubernetes import apps, core, extensions, networking, scheduling, security


def of(kind: Kind, **metadata: object) -> list[str]:
    """Return what is said of an object of a kind."""
    version = f"{kind.group}/{kind.versions[0]}" if kind.group else kind.versions[0]
    obj = {"apiVersion": version, "kind": kind.name, "metadata": {"name": "a", **metadata}}
    return hints(*kind.group_plural, obj)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (security.ROLE_BINDING, ["grants nothing in the federation", "goes to no cluster unless a policy"]),
        (security.CLUSTER_ROLE, ["grants nothing in the federation", "goes to no cluster unless a policy"]),
        (extensions.VALIDATING_WEBHOOK_CONFIGURATION, ["not called in the federation", "goes to no cluster"]),
        (extensions.API_SERVICE, ["serves no API", "goes to no cluster"]),
        (core.POD, ["v1 Pod goes to no cluster unless a policy selects it"]),
        (core.PERSISTENT_VOLUME, ["v1 PersistentVolume goes to no cluster unless a policy selects it"]),
        (apps.DEPLOYMENT, []),
        (core.CONFIG_MAP, []),
        (core.EVENT, []),
        (scheduling.LEASE, []),
        (core.ENDPOINTS, []),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_authors_hear_what_does_not_happen(kind: Kind, words: list[str]) -> None:
    """That nothing obeys it, and that it stays; nothing of what does as everybody expects."""
    said = of(kind)
    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))


def test_what_follows_a_service_goes_where_that_goes() -> None:
    """A slice that somebody writes for a Service goes with it; one of no Service stays."""
    assert of(networking.ENDPOINT_SLICE, labels={"kubernetes.io/service-name": "web"}) == []
    assert len(of(networking.ENDPOINT_SLICE)) == 1


def test_every_kind_that_stays_says_so() -> None:
    """Whatever can be placed and is not placed by itself."""
    for kind in KINDS:
        stays = placeable(*kind.group_plural) and not propagates(*kind.group_plural)
        silent = kind is core.ENDPOINTS
        assert any("goes to no cluster" in each for each in of(kind)) == (stays and not silent), kind
