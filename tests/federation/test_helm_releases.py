"""What Helm notes down of a release stays in the federation."""

from __future__ import annotations

import orjson
import pytest

from hanse.federation.propagation import object_propagates
from hanse.kube.model.objects import Object
from hanse.security import envelope

NAMED = {"name": "sh.helm.release.v1.web.v1", "namespace": "shop", "labels": {"owner": "helm", "name": "web"}}


@pytest.mark.parametrize(
    ("resource", "obj", "goes"),
    [
        ("secrets", {"metadata": NAMED, "type": "helm.sh/release.v1"}, False),
        ("secrets", {"metadata": {"name": "renamed"}, "type": "helm.sh/release.v1"}, False),
        ("secrets", {"metadata": NAMED}, False),
        ("configmaps", {"metadata": NAMED}, False),
        ("secrets", {"metadata": NAMED, "type": "Opaque"}, True),
        ("secrets", {"metadata": {**NAMED, "labels": {"owner": "me"}}}, True),
        ("secrets", {"metadata": {**NAMED, "name": "web"}}, True),
        ("services", {"metadata": NAMED}, True),
    ],
)
def test_records_of_helm_stay(resource: str, obj: Object, goes: bool) -> None:
    """By the type, or by name and label where it is not seen; what the chart made goes as it does."""
    assert object_propagates("", resource, obj) is goes


def test_a_sealed_record_of_helm_stays() -> None:
    """The scheduler has no key of Secrets: it sees the outline."""
    secret = {"kind": "Secret", "metadata": NAMED, "type": "helm.sh/release.v1", "data": {"release": "eA=="}}
    outline = orjson.loads(orjson.dumps(envelope.outline(secret)))
    assert object_propagates("", "secrets", outline) is False
