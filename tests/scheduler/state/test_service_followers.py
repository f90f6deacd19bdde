"""Endpoints that somebody writes for a Service without a selector go where the Service goes."""

from __future__ import annotations

from typing import Any

import pytest

from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import policy_object
from tests.support.federation.federation import Federation

SERVICE = ObjectKey("", "services", "shop", "db")
ENDPOINTS = ObjectKey("", "endpoints", "shop", "db")
SLICE = ObjectKey("discovery.k8s.io", "endpointslices", "shop", "db-1")
POLICY = ObjectKey("hanse.dev", "clusterplacementpolicies", "", "p")


def service(**spec: Any) -> Object:
    """A Service; without a selector unless one is given."""
    metadata = {"name": "db", "namespace": "shop", "uid": "s1"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def endpoint_slice(**labels: str) -> Object:
    """An EndpointSlice of the Service."""
    metadata = {
        "name": "db-1",
        "namespace": "shop",
        "uid": "e1",
        "labels": {"kubernetes.io/service-name": "db", **labels},
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "endpoints": [],
    }


def endpoints() -> Object:
    """Endpoints of the Service."""
    metadata = {"name": "db", "namespace": "shop", "uid": "e2"}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": []}


def services_in(*names: str) -> Object:
    """A policy that has Services in these clusters."""
    return policy_object(
        resourceSelectors=[{"apiVersion": "v1", "kind": "Service"}], clusterNames=list(names)
    )


@pytest.mark.parametrize(
    ("key", "obj"), [(SLICE, endpoint_slice()), (ENDPOINTS, endpoints())], ids=["slice", "endpoints"]
)
async def test_they_follow_their_service(federation: Federation, key: ObjectKey, obj: Object) -> None:
    """Where it goes, and while it moves, whichever of them comes first."""
    await federation.clusters("a", "b")
    await federation.apply(POLICY, services_in("a"))
    await federation.start_scheduler()
    await federation.apply(key, obj)
    await federation.apply(SERVICE, service())
    placement = await federation.placed(key, {"a": None})
    assert placement.clusters[0].reason == "FollowsService"
    await federation.apply(POLICY, services_in("b"))
    await federation.placed(SERVICE, {"a": None, "b": None})  # a until b is ready
    await federation.placed(key, {"a": None, "b": None})


async def test_what_a_controller_makes_follows_nothing(federation: Federation) -> None:
    """Neither that of a Service with a selector, nor what says that a controller manages it."""
    await federation.clusters("a")
    process = await federation.start_scheduler()
    await federation.apply(SERVICE, service(selector={"app": "db"}))
    await federation.apply(SLICE, endpoint_slice())
    await federation.placed(SERVICE, {"a": None})
    await federation.settled(process)
    assert await federation.placement(SLICE) is None
    await federation.apply(SERVICE, service())
    await federation.placed(SLICE, {"a": None})
    managed = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
    await federation.apply(SLICE, endpoint_slice(**managed))
    await federation.placed(SLICE, {})


async def test_a_selector_that_comes_takes_them_away(federation: Federation) -> None:
    """From then on each cluster makes its own."""
    await federation.clusters("a")
    await federation.start_scheduler()
    await federation.apply(SERVICE, service())
    await federation.apply(SLICE, endpoint_slice())
    await federation.placed(SLICE, {"a": None})
    await federation.apply(SERVICE, service(selector={"app": "db"}))
    placement = await federation.placed(SLICE, {})
    assert [release.cluster for release in placement.releasing] == ["a"]
