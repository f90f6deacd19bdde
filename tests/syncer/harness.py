"""Objects of the syncer's tests: without a name, which they get where they are put."""

from __future__ import annotations

from typing import Any

from hanse.kube.model.objects import Object
from tests.support import objects


def config_map(data: str = "1", **metadata: Any) -> Object:
    """Return a ConfigMap without name."""
    return objects.config_map(data={"value": data}, **metadata)


def deployment(replicas: int = 2, **metadata: Any) -> Object:
    """Return a Deployment without name."""
    nginx = objects.container(image="nginx")
    return objects.deployment("", app="web", replicas=replicas, containers=(nginx,), metadata=metadata)
