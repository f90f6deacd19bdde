"""The names and forms of FederationService's resources: pure.

Next: `hanse_apiserver.rpc.service`.
"""

from __future__ import annotations

from typing import Any

import orjson

from hanse.api.federation.v1.federation_pb2 import Object as ObjectMessage
from hanse.api.federation.v1.federation_pb2 import Resource
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.documents import json_document
from hanse.errors import InvalidArgumentError, shown
from hanse.federation.propagation import propagates
from hanse.federation.times import set_time, set_write_time
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object, gvk_of, mapping, name_of, namespace_of
from hanse.paths import CORE, parse_group, parse_namespace
from hanse.store.keys import OBJECTS, ObjectKey


def parse_name(name: str) -> ObjectKey:
    """Return what `objects/{group}/{resource}/{namespace}/{object}` names. Raises InvalidArgumentError."""
    parts = name.split("/")
    if len(parts) != 5 or parts[0] != OBJECTS or not all(parts):
        raise _bad("name", name, "objects/{group}/{resource}/{namespace}/{object}, with core and _ for none")
    return ObjectKey.parse(name)


def parse_parent(parent: str) -> tuple[str, str, str | None]:
    """Return group ("" for core), resource and namespace (None for all, "" for cluster scope) of a parent."""
    parts = parent.split("/")
    if len(parts) not in (3, 4) or parts[0] != OBJECTS or not all(parts):
        raise _bad("parent", parent, "objects/{group}/{resource} or objects/{group}/{resource}/{namespace}")
    group = parse_group(parts[1])
    if len(parts) == 3:
        return group, parts[2], None
    return group, parts[2], parse_namespace(parts[3])


def parse_manifest(manifest: bytes) -> Object:
    """Return a manifest as an object. Raises InvalidArgumentError."""
    decoded = parse_json(manifest, field="manifest")
    if not isinstance(decoded, dict):
        raise _bad("manifest", type(decoded).__name__, "a JSON object")
    return decoded


def parse_json(value: bytes, *, field: str) -> Any:
    """Return decoded JSON. Raises InvalidArgumentError that names the field."""
    try:
        return json_document(value, what=field)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(str(error), reason=error.reason, metadata={"field": field}) from error


def info_of(catalogue: Catalogue, obj: Object) -> ResourceInfo:
    """Return the resource that a manifest is of. Raises InvalidArgumentError if it is not served."""
    gvk = gvk_of(obj)
    info = catalogue.by_kind(gvk.group, gvk.version, gvk.kind)
    if info is None:
        raise InvalidArgumentError(
            f"no resource of kind {gvk.kind} in {obj['apiVersion']} is served: is its "
            "CustomResourceDefinition installed?",
            reason="KIND_NOT_SERVED",
            metadata={"apiVersion": str(obj["apiVersion"]), "kind": gvk.kind},
        )
    return info


def storage_info(catalogue: Catalogue, group: str, resource: str) -> ResourceInfo:
    """Return a resource in the version in which it is stored. Raises InvalidArgumentError if not served."""
    info = catalogue.storage(group, resource)
    if info is None:
        name = f"{resource}.{group}" if group else resource
        raise InvalidArgumentError(
            f"the resource {name} is not served; see ListResources", reason="RESOURCE_NOT_SERVED"
        )
    return info


def key_of(info: ResourceInfo, obj: Object) -> ObjectKey:
    """Return the key of a manifest."""
    namespace = namespace_of(obj) if info.namespaced else ""
    return ObjectKey(info.storage_group, info.storage_resource, namespace, name_of(obj))


def message_of(info: ResourceInfo, obj: Object, *, encoded: bytes | None = None) -> ObjectMessage:
    """Return an object as a message; `encoded` is its JSON, if that is known."""
    metadata = mapping(obj, "metadata")
    key = key_of(info, obj)
    message = ObjectMessage(
        name=key.key(OBJECTS) if key.name else "",
        reference=reference_of(info, obj),
        manifest=encoded if encoded is not None else orjson.dumps(obj),
        etag=str(metadata.get("resourceVersion") or ""),
    )
    set_time(message.create_time, metadata.get("creationTimestamp"))
    set_write_time(message.update_time, metadata)
    return message


def reference_of(info: ResourceInfo, obj: Object) -> ObjectReference:
    """Return the reference to an object."""
    return ObjectReference(
        group=info.group,
        version=info.version,
        resource=info.plural,
        kind=info.kind,
        namespace=namespace_of(obj),
        name=name_of(obj),
        uid=str(mapping(obj, "metadata").get("uid") or ""),
    )


def resource_message(info: ResourceInfo) -> Resource:
    """Return a resource of the catalogue as a message."""
    return Resource(
        name=f"resources/{info.group or CORE}/{info.version}/{info.plural}",
        group=info.group,
        version=info.version,
        resource=info.plural,
        kind=info.kind,
        singular=info.singular,
        short_names=info.short_names,
        namespaced=info.namespaced,
        verbs=info.verbs,
        propagates=propagates(*info.storage_key) and not info.virtual,
    )


def _bad(field: str, value: str, expected: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{field} is {shown(value)}: it must be {expected}", metadata={"field": field}
    )
