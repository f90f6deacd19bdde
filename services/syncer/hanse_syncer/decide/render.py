"""What one cluster gets: the template of an object made into the manifest for that cluster.

Owns `Manifest` and how it is made and encoded. Pure functions, no I/O; a `ManifestRenderer` keeps the last
manifests, because what is the same for all clusters is rendered and encoded once and not once per cluster.

Order: take off what is not a member's business and what the federation does itself, set the replicas, the
partition and the ordinals that the scheduler gave, apply the override patches, turn what can only be written
into what is stored of it, put the marks of ownership on (last, so that no override can take them off).

Next: `hanse_syncer.decide.retained` for the fields that are left out, `hanse_syncer.decide.fingerprints`
for comparing.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.errors import HanseError, InvalidArgumentError, UnavailableError
from hanse.federation.stored.authorship import as_written
from hanse.kube.merge.json_patch import MAX_POLICY_COPIED_BYTES, json_patch
from hanse.kube.model.objects import Object
from hanse.kube.model.untrusted import count, mapping
from hanse.security.envelope import MAX_OBJECT_BYTES
from hanse_syncer import ownership
from hanse_syncer.decide import kinds, retained


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one cluster gets. `hash` is the SHA-256, in hex, of its canonical JSON (keys sorted).

    `object` must not be changed: it may be shared between clusters.
    """

    object: Object
    hash: str
    _metadata: bytes = field(repr=False)
    _rest: bytes = field(repr=False)

    def body(self, *, uid: str = "", resource_version: str = "") -> bytes:
        """Return the manifest as JSON, with preconditions in its metadata where they are given."""
        conditions: dict[str, str] = {}
        if uid:
            conditions["uid"] = uid
        if resource_version:
            conditions["resourceVersion"] = resource_version
        prefix = orjson.dumps(conditions)[1:-1] + b"," if conditions else b""
        return b'{"metadata":{' + prefix + self._metadata[1:] + b"," + self._rest[1:]

    def annotated(self, name: str, value: str) -> Manifest:
        """Return the manifest with one annotation more."""
        metadata = self.object["metadata"]
        annotations = {**(metadata.get("annotations") or {}), name: value}
        return _encode({**self.object, "metadata": {**metadata, "annotations": annotations}})

    def of(self, obj: Object) -> Manifest:
        """Return the manifest of another object, made out of this one's."""
        return _encode(obj)

    @property
    def api_version(self) -> str:
        """apiVersion of the manifest."""
        return str(self.object["apiVersion"])

    @property
    def kind(self) -> str:
        """Kind of the manifest."""
        return str(self.object["kind"])


def render(
    template: Mapping[str, Any],
    *,
    placement: ClusterPlacement,
    federation_id: str,
) -> Manifest:
    """Return what the placement's cluster gets of `template`, in the template's apiVersion.

    Raises InvalidArgumentError (`OVERRIDE_INVALID`) for overrides that cannot be applied, or that change what
    the object is.
    """
    written = as_written(dict(template))
    obj = kinds.without_members_own({**written, "metadata": retained.metadata(template)})
    obj = _with_partition(_with_replicas(kinds.without_withheld(obj), placement), placement)
    obj = _with_ordinals(obj, placement)
    if placement.overrides:
        obj = kinds.without_write_only(_overridden(obj, placement.overrides))
    metadata = dict(obj["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), **ownership.labels(federation_id)}
    obj = {**obj, "metadata": metadata}
    return _encode(obj)


def _encode(obj: Object) -> Manifest:
    rest = {key: value for key, value in obj.items() if key != "metadata"}
    encoded_metadata = orjson.dumps(obj["metadata"], option=orjson.OPT_SORT_KEYS)
    encoded_rest = orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(encoded_metadata)
    digest.update(encoded_rest)
    return Manifest(object=obj, hash=digest.hexdigest(), _metadata=encoded_metadata, _rest=encoded_rest)


def _with_replicas(obj: Object, placement: ClusterPlacement) -> Object:
    changes: Object = {}
    if placement.HasField("replicas"):
        changes[kinds.pod_count_field(obj)] = placement.replicas
    if placement.HasField("completions"):
        changes["completions"] = placement.completions
    return {**obj, "spec": {**(obj.get("spec") or {}), **changes}} if changes else obj


def _with_partition(obj: Object, placement: ClusterPlacement) -> Object:
    """Return the object with the cluster's part of the update partition, if there is one."""
    if not placement.HasField("partition"):
        return obj
    spec = mapping(obj.get("spec"))
    strategy = mapping(spec.get("updateStrategy"))
    rolling = {**mapping(strategy.get("rollingUpdate")), "partition": placement.partition}
    return {**obj, "spec": {**spec, "updateStrategy": {**strategy, "rollingUpdate": rolling}}}


def _with_ordinals(obj: Object, placement: ClusterPlacement) -> Object:
    """Return the object with the ordinals of the cluster, if they are not the template's."""
    if not placement.ordinal_offset:
        return obj
    spec = mapping(obj.get("spec"))
    ordinals = mapping(spec.get("ordinals"))
    start = count(ordinals.get("start")) + placement.ordinal_offset
    return {**obj, "spec": {**spec, "ordinals": {**ordinals, "start": start}}}


def _overridden(obj: Object, overrides: bytes) -> Object:
    try:
        changed = json_patch(obj, orjson.loads(overrides), max_copied=MAX_POLICY_COPIED_BYTES)
        size = len(orjson.dumps(changed))
        same = _identity(obj) == _identity(changed)
    except (HanseError, ValueError, AttributeError, TypeError) as error:
        raise InvalidArgumentError(
            f"the overrides cannot be applied: {error}", reason="OVERRIDE_INVALID"
        ) from error
    if size > MAX_OBJECT_BYTES:
        raise InvalidArgumentError(
            f"the overrides make an object of {size} bytes, more than {MAX_OBJECT_BYTES}",
            reason="OVERRIDE_INVALID",
        )
    if not same:
        raise InvalidArgumentError(
            "the overrides change apiVersion, kind, name, namespace or other metadata than labels and "
            "annotations: an override cannot make another object of it, or take it from somebody",
            reason="OVERRIDE_INVALID",
        )
    return changed


def _identity(obj: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what no override may change: which object it is, and the rest of what is in its metadata.

    uid and resourceVersion are the preconditions by which nothing but our own object is written to.
    """
    metadata = obj["metadata"]
    fixed = {name: value for name, value in metadata.items() if name not in ("labels", "annotations")}
    for name in ("labels", "annotations"):
        if not isinstance(metadata.get(name, {}), dict):
            raise TypeError(f"metadata.{name} would be no object")
    return obj.get("apiVersion"), obj.get("kind"), fixed


class ManifestRenderer:
    """Renders, and remembers the last `capacity` manifests by what went into them.

    Used from one event loop. A template is named by its key and revision.
    """

    def __init__(self, federation_id: str = "", *, capacity: int = 2048) -> None:
        """Without `federation_id` nothing can be rendered until it is set: the federation is not founded."""
        self.federation_id = federation_id
        self._capacity = capacity
        self._kept: OrderedDict[tuple[object, ...], Manifest] = OrderedDict()

    def check(self) -> None:
        """Raise UnavailableError while nothing can be rendered."""
        if not self.federation_id:
            raise UnavailableError("the federation is not founded yet: start the apiserver")

    def render(
        self,
        encoded: bytes,
        *,
        key: str,
        revision: int,
        placement: ClusterPlacement,
    ) -> Manifest:
        """Return the manifest for `encoded`, which `key` held at `revision`. Raises as `render`."""
        self.check()
        identity = (
            key,
            revision,
            placement.replicas if placement.HasField("replicas") else None,
            placement.completions if placement.HasField("completions") else None,
            placement.partition if placement.HasField("partition") else None,
            placement.ordinal_offset,
            placement.overrides,
        )
        found = self._kept.get(identity)
        if found is not None:
            self._kept.move_to_end(identity)
            return found
        manifest = render(
            orjson.loads(encoded),
            placement=placement,
            federation_id=self.federation_id,
        )
        self._kept[identity] = manifest
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return manifest
