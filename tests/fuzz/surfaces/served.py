"""A served federation for the surfaces that talk to it: an apiserver over a store in memory, with objects.

Owns `ServedFederation`: it runs in a watched loop, and is the same each time it starts.

Next: `rest` and `rpcs`.
"""

from __future__ import annotations

import gc
import logging
from typing import Any

import structlog

from tests.apiserver.world import WEB, World, deployment, namespace, rolled_out
from tests.fuzz.loops import WatchedLoop
from tests.kube.server.world import config_map, widget_crd

WIDGET = {
    "apiVersion": "example.com/v1",
    "kind": "Widget",
    "metadata": {"name": "w", "namespace": "shop", "labels": {"a": "b"}},
    "spec": {"size": 1, "color": "blue"},
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "selector": {"app": "web"},
        "ports": [{"port": 80, "targetPort": "http"}],
        "type": "LoadBalancer",
    },
}
OVERRIDE = {
    "apiVersion": "hanse.dev/v1alpha1",
    "kind": "OverridePolicy",
    "metadata": {"name": "o", "namespace": "shop"},
    "spec": {
        "resourceSelectors": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "labelSelector": {"matchLabels": {"a": "b"}}}
        ],
        "rules": [
            {
                "clusterSelector": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]},
                "jsonPatch": [
                    {"op": "copy", "from": "/spec", "path": "/metadata/annotations"},
                    {"op": "add", "path": "/spec/replicas", "value": 1},
                ],
                "image": {"tag": "2"},
                "labels": {"x": "y"},
            }
        ],
    },
}
PLACEMENT = {
    "apiVersion": "hanse.dev/v1alpha1",
    "kind": "ClusterPlacementPolicy",
    "metadata": {"name": "p"},
    "spec": {
        "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment"}],
        "clusterSelector": {"matchLabels": {"location": "cloud"}},
        "maxClusters": 2,
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "replicas": {"mode": "Divided", "clusters": {"a": {"weight": 1}}},
    },
}


class Quiet:
    """Logs nothing while it lasts: refusals are what is expected here, and their number is large."""

    def __init__(self) -> None:
        self._before = structlog.get_config()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self._disabled = logging.root.manager.disable
        logging.disable(logging.CRITICAL)

    def end(self) -> None:
        """Log again as before."""
        structlog.configure(**self._before)
        logging.disable(self._disabled)


class ServedFederation:
    """An apiserver in a watched loop."""

    def __init__(self) -> None:
        self._quiet = Quiet()
        self.loop = WatchedLoop()
        self.world: World = self.loop.call(self._open())
        gc.collect()
        gc.freeze()

    async def _open(self) -> World:
        world = World()
        await world.__aenter__()
        await world.create("/api/v1/namespaces", namespace())
        await world.create("/apis/apps/v1/namespaces/shop/deployments", deployment())
        await world.create("/api/v1/namespaces/shop/configmaps", config_map("c", namespace="shop", a="1"))
        await world.create("/api/v1/namespaces/shop/services", SERVICE)
        crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await world.create(crds, widget_crd())
        await world.create("/apis/example.com/v1/namespaces/shop/widgets", WIDGET)
        await world.create("/apis/hanse.dev/v1alpha1/namespaces/shop/overridepolicies", OVERRIDE)
        await world.create("/apis/hanse.dev/v1alpha1/clusterplacementpolicies", PLACEMENT)
        await world.cluster("eu-west")
        await world.place(WEB, {"eu-west": 4})
        await world.report(WEB, "eu-west", status=rolled_out(4))
        return world

    def close(self) -> None:
        """Stop it."""
        self.loop.call(self._close())
        self.loop.close()
        gc.unfreeze()
        self._quiet.end()

    async def _close(self) -> None:
        await self.world.__aexit__(None, None, None)

    def identity(self) -> dict[str, Any]:
        """The files of the administrator's certificate."""
        files = self.world.identity("hanse-admin", "system:masters", "hanse:admins")
        return {"ca": str(files.ca), "cert": str(files.cert), "key": str(files.key)}
