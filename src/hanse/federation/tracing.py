"""The trace context of a change, as it travels in the object that was changed.

Owns the annotation `hanse.dev/traceparent` of stored objects, in W3C's form: the apiserver writes it with
each change, the other services make the spans of what follows children of it, and nobody is ever served it.
What services hand on in records of their own (a placement, a sync state) has a field for it.

Pure functions. Next: `hanse.process.telemetry`, which makes spans of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from hanse.kube.model.objects import Object, annotations_of, mapping
from hanse.well_known import DEFAULTED, TRACEPARENT


def traceparent_of(obj: Object) -> str:
    """Return the traceparent of the object's last change; "" if it has none."""
    return str(annotations_of(obj).get(TRACEPARENT) or "")


def with_traceparent(obj: Object, traceparent: str) -> Object:
    """Return the object with the traceparent of a change; as it is if there is none."""
    if not traceparent:
        return obj
    metadata = mapping(obj, "metadata")
    annotations = {**annotations_of(obj), TRACEPARENT: traceparent}
    return {**obj, "metadata": {**metadata, "annotations": annotations}}


def served_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return stored annotations as they are served: without what is never served."""
    return {name: value for name, value in annotations.items() if name not in (TRACEPARENT, DEFAULTED)}
