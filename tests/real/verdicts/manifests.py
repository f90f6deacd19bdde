"""The objects that are fine, in `manifests/`: every feature of every kind that people write. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from hanse.kube.model.objects import Object, mapping

HERE = Path(__file__).resolve().parent / "manifests"


def manifests() -> Iterator[Object]:
    """Yield the manifests, in the order of files and documents."""
    for path in sorted(HERE.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def label(obj: Object) -> str:
    """Return how a manifest is called: kind and name."""
    metadata = mapping(obj, "metadata")
    return f"{obj['kind']}/{metadata.get('name') or metadata.get('generateName')}"
