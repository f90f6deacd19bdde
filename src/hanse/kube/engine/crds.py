"""CustomResourceDefinitions: kinds that users add at run time.

`CrdAdmission` completes a CRD on its way in (names, accepted at once, since conflicts are checked first);
`CrdController` keeps the catalogue in step with the stored CRDs and removes the objects of a CRD that is
being deleted. A stored CRD that cannot be served (another release let it in) is left out with the reason in
the log and in what is served of it; its objects stay, and it can be deleted like any other. The catalogue
changes in the cache's own callback, so who sees a CRD can use it. Next: `hanse.kube.kinds.catalogue`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import orjson
import structlog

from hanse.boundary import Boundary, reason_of
from hanse.errors import HanseError, InvalidArgumentError, NotFoundError
from hanse.kube.engine import unreadable
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.hooks import AdmissionRequest
from hanse.kube.engine.lifecycle import invalid
from hanse.kube.engine.options import DeleteOptions
from hanse.kube.engine.resources.store import ResourceStore
from hanse.kube.engine.served import ObjectChange
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.fields.crds import load_errors, reserved_group_error
from hanse.kube.kinds.kind import PrinterColumn, ScalePaths, SelectableField
from hanse.kube.kinds.kubernetes import extensions
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model import jsonpath
from hanse.kube.model.objects import Object, is_deleting, mapping, name_of, sequence
from hanse.kube.model.status import Cause
from hanse.kube.model.times import format_time
from hanse.kube.model.untrusted import mappings, text
from hanse.kube.wire import openapi
from hanse.numbers import whole_number

GROUP, PLURAL = extensions.CUSTOM_RESOURCE_DEFINITION.group_plural
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""Finalizer that keeps a CRD until its objects are gone."""

RETRY_SECONDS = 1.0

LARGE_BYTES: Final = 16 * 1024
"""A stored CRD with more is prepared in a thread: 10,000 schemas in 270 KB take 50 ms."""

MAX_KNOWN: Final = 1024
"""CRDs whose resources are remembered; Kubernetes is built for 500."""

_log = structlog.get_logger(__name__)
_AGE = PrinterColumn("Age", "date", ".metadata.creationTimestamp")


class CrdAdmission:
    """Completes CRDs: default names, the cleanup finalizer, and a status that says Established."""

    def __init__(self, clock: Callable[[], datetime], *, reserved: Collection[str]) -> None:
        """`reserved` are the groups that no CRD may define kinds in."""
        self._clock = clock
        self._reserved = reserved

    async def admit(self, request: AdmissionRequest) -> Object:
        """Return the completed CRD; anything else as it is. Raises InvalidObjectError."""
        if request.info.storage_key != (GROUP, PLURAL) or request.operation == "DELETE":
            return request.object
        obj = request.object
        spec = mapping(obj, "spec")
        names = dict(mapping(spec, "names"))
        wanted = f"{names.get('plural')}.{spec.get('group')}"
        if obj["metadata"]["name"] != wanted:
            message = f'Invalid value: "{obj["metadata"]["name"]}": must be spec.names.plural+"."+spec.group'
            raise invalid(request.info, wanted, Cause("FieldValueInvalid", message, "metadata.name"))
        error = reserved_group_error(spec.get("group"), self._reserved)
        if error is not None:
            raise invalid(request.info, wanted, Cause(error.type, error.body, error.field))
        kind = str(names.get("kind", ""))
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", f"{kind}List")
        metadata = dict(obj["metadata"])
        if request.operation == "CREATE":
            metadata["finalizers"] = sorted({*(metadata.get("finalizers") or ()), CLEANUP})
        result = {**obj, "metadata": metadata, "spec": {**spec, "names": names}}
        if not request.subresource:
            result["status"] = self._status(mapping(obj, "status"), result["spec"])
        return result

    def _status(self, old: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
        now = format_time(self._clock())
        storage = [str(v.get("name") or "") for v in mappings(spec.get("versions")) if v.get("storage")]
        stored = [*(old.get("storedVersions") or ())]
        stored += [v for v in storage if v not in stored]
        conditions = [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", now),
        ]
        kept = {c.get("type"): c for c in old.get("conditions") or ()}
        merged = [kept.pop(c["type"], c) for c in conditions] + list(kept.values())
        return {"acceptedNames": spec["names"], "conditions": merged, "storedVersions": stored}


def _condition(kind: str, reason: str, message: str, now: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}


class Definitions:
    """The resources that CRDs define, each made once for what its CRD says.

    A large CRD takes longer than the loop may be held. `prepare` makes its resources in a thread, before the
    CRD is served, shown and compared on the loop.
    """

    def __init__(self, *, reserved: Collection[str]) -> None:
        """`reserved` are the groups that no CRD may define kinds in."""
        self._reserved = reserved
        self._known: OrderedDict[bytes, list[ResourceInfo] | InvalidArgumentError] = OrderedDict()

    async def prepare(self, value: bytes) -> None:
        """Make the resources of a CRD as it is stored, if it is large."""
        if len(value) > LARGE_BYTES:
            await asyncio.to_thread(self._prepare, value)

    def _prepare(self, value: bytes) -> None:
        with suppress(InvalidArgumentError, ValueError):  # whoever serves it says what is wrong
            self.infos_of(orjson.loads(value))

    def infos_of(self, crd: Object) -> list[ResourceInfo]:
        """Return the resources that a CRD defines: one for each served version, the newest first.

        A version that cannot be read is left out. Raises InvalidArgumentError (`CRD_UNREADABLE`) if that is
        the one that objects are stored in, or if the rest of the CRD cannot be read.
        """
        said = orjson.dumps([name_of(crd), crd.get("spec")])
        digest = hashlib.blake2b(said, digest_size=16).digest()
        found = self._known.get(digest)
        if found is None:
            found = self._known[digest] = _infos_or_error(crd, self._reserved)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        if isinstance(found, InvalidArgumentError):
            raise found
        return found

    def shown(self, crd: Object) -> Object:
        """Return how a stored CRD is served: as it is, or with the reason if it cannot be."""
        why = self.unservable(crd)
        if not why:
            return crd
        kept = [
            c for c in mappings(mapping(crd, "status").get("conditions")) if c.get("type") != "Established"
        ]
        established = {"type": "Established", "status": "False", "reason": "Unreadable", "message": why}
        return unreadable.marked(
            {**crd, "status": {**mapping(crd, "status"), "conditions": [*kept, established]}}, why
        )

    def unservable(self, crd: Object) -> str:
        """Return why a CRD cannot be served, or which of its versions cannot be; "" if all is well."""
        try:
            infos = self.infos_of(crd)
        except InvalidArgumentError as error:
            return error.message
        known = {info.version for info in infos}
        wanted = [mapping(v) for v in sequence(crd, "spec", "versions")]
        lost = [repr(v.get("name")) for v in wanted if v.get("served", True) and v.get("name") not in known]
        return f"these versions have no names and are not served: {', '.join(lost)[:200]}" if lost else ""


def _infos_or_error(crd: Object, reserved: Collection[str]) -> list[ResourceInfo] | InvalidArgumentError:
    try:
        return _infos_of(crd, reserved)
    except Exception as error:  # noqa: BLE001 - of this CRD; others are served
        return InvalidArgumentError(
            f"the CustomResourceDefinition {name_of(crd)} cannot be served: {reason_of(error)}; correct it, "
            "or delete it",
            reason="CRD_UNREADABLE",
        )


def _infos_of(crd: Object, reserved: Collection[str]) -> list[ResourceInfo]:
    spec = mapping(crd, "spec")
    problem = reserved_group_error(spec.get("group"), reserved) or next(load_errors(crd), None)
    if problem is not None:
        raise InvalidArgumentError(str(problem))
    names = mapping(spec, "names")
    for where, value in (("spec.group", spec.get("group")), ("spec.names.plural", names.get("plural"))):
        if not _is_name(value):
            raise InvalidArgumentError(f"{where} is {value!r}, which is no name")
    if not isinstance(names.get("kind"), str) or not names["kind"]:
        raise InvalidArgumentError("spec.names.kind is missing or is no text")
    versions = [each for each in mappings(spec.get("versions")) if _is_name(each.get("name"))]
    storage = next((str(v["name"]) for v in versions if v.get("storage")), "")
    if not storage:
        stored = next((v.get("name") for v in sequence(spec, "versions") if mapping(v).get("storage")), None)
        raise InvalidArgumentError(f"the name of the version that objects are stored in is {stored!r}")
    ordered = sorted(versions, key=lambda v: _priority(str(v["name"])), reverse=True)
    result = []
    for version in ordered:
        if not version.get("served", True) and str(version["name"]) != storage:
            continue
        info = _info(spec, names, version, storage)
        openapi.check(info)
        result.append(info)
    return result


_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)


def _is_name(value: Any) -> bool:
    """Return whether a value can stand in paths and keys."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _column(column: Object) -> PrinterColumn | None:
    """Return a printer column; None for one that cannot be read."""
    name, kind, path = column.get("name"), column.get("type"), column.get("jsonPath")
    if not (isinstance(name, str) and isinstance(kind, str) and isinstance(path, str)):
        return None
    try:
        jsonpath.parse(path)
    except ValueError:
        return None
    priority = column.get("priority")
    return PrinterColumn(
        name,
        kind,
        path,
        text(column.get("format")),
        text(column.get("description")),
        priority if type(priority) is int else 0,
    )


def _info(spec: Object, names: Object, version: dict[str, Any], storage: str) -> ResourceInfo:
    declared = mapping(version, "subresources")
    scale = mapping(declared, "scale")
    readable = (_column(column) for column in mappings(version.get("additionalPrinterColumns")))
    columns = tuple(column for column in readable if column is not None) or (_AGE,)
    schema = mapping(version, "schema", "openAPIV3Schema")
    return ResourceInfo(
        group=str(spec["group"]),
        version=str(version["name"]),
        kind=str(names["kind"]),
        plural=str(names["plural"]),
        singular=text(names.get("singular")) or str(names["kind"]).lower(),
        list_kind=text(names.get("listKind")),
        namespaced=spec.get("scope") == "Namespaced",
        short_names=_texts(names.get("shortNames")),
        categories=_texts(names.get("categories")),
        subresources=tuple(name for name in ("status", "scale") if name in declared),
        storage_group=str(spec["group"]),
        storage_version=storage,
        storage_resource=str(names["plural"]),
        custom=True,
        deprecation=_deprecation(spec, version),
        schema=schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        columns=columns,
        selectable=tuple(
            SelectableField(path.removeprefix("."))
            for field in mappings(version.get("selectableFields"))
            if (path := text(field.get("jsonPath")))
        ),
        scale=ScalePaths(
            replicas=text(scale.get("specReplicasPath")),
            current=text(scale.get("statusReplicasPath")),
            selector=text(scale.get("labelSelectorPath")),
            form="text",
            default=0,
        )
        if "scale" in declared
        else None,
    )


def _priority(version: str) -> tuple[int, int, int]:
    """Order versions as Kubernetes does: GA before beta before alpha, then by number; other names last."""
    if version[:1] != "v":
        return (0, 0, 0)
    for rank, word in ((2, "beta"), (1, "alpha")):
        before, found, after = version[1:].partition(word)
        major, minor = whole_number(before), whole_number(after)
        if found and major is not None and minor is not None:
            return (rank, major, minor)
    number = whole_number(version[1:])
    return (0, 0, 0) if number is None else (3, number, 0)


class CrdController:
    """Serves what CRDs define."""

    def __init__(
        self,
        cache: ObjectCache,
        *,
        catalogue: Catalogue,
        resources: ResourceStore,
        definitions: Definitions,
    ) -> None:
        self._cache = cache
        self._definitions = definitions
        self._catalogue = catalogue
        self._resources = resources
        self._deleting = asyncio.Event()
        self._boundary = Boundary("crds")

    def start(self) -> None:
        """Serve the CRDs that are stored, and from now on every new one as soon as the cache has it."""
        for entry in self._cache.objects(GROUP, PLURAL):
            self._serve(entry.object)
        self._cache.subscribe(self._changed)

    def _changed(self, change: ObjectChange) -> None:
        if (change.key.group, change.key.resource) != (GROUP, PLURAL):
            return
        if change.type == "DELETED":
            plural, _, group = change.key.name.partition(".")
            if not self._catalogue.is_builtin(group, plural):
                self._catalogue.remove(group, plural)
            for entry in self._cache.objects(GROUP, PLURAL):
                plural, _, group = entry.key.name.partition(".")
                if self._catalogue.storage(group, plural) is None:
                    self._serve(entry.object)
        else:
            self._serve(change.entry.object)

    def _serve(self, crd: Object) -> None:
        if is_deleting(crd):
            self._deleting.set()
        try:
            infos = self._definitions.infos_of(crd)
        except InvalidArgumentError as error:
            self._boundary.failed(crd["metadata"]["name"], error)
            return
        if not infos:
            return
        if self._catalogue.is_builtin(infos[0].group, infos[0].plural):
            _log.error("a CRD would replace a built-in resource", name=crd["metadata"]["name"])
            return
        taken = next((i for i in self._catalogue if _same_kind(i, infos[0])), None)
        if taken is not None:
            _log.error(
                "a CRD names a kind that another has", name=crd["metadata"]["name"], other=taken.plural
            )
            return
        present = [i for i in self._catalogue if (i.group, i.plural) == infos[0].storage_key]
        if present != infos:
            self._catalogue.replace(infos)

    async def run(self) -> None:
        """Remove the objects of CRDs that are being deleted, then the CRDs. Runs until cancelled."""
        while True:
            await self._deleting.wait()
            self._deleting.clear()
            pending = False
            for entry in self._cache.objects(GROUP, PLURAL):
                metadata = entry.object["metadata"]
                if is_deleting(entry.object) and CLEANUP in sequence(metadata, "finalizers"):
                    done = False
                    with self._boundary.around(entry.key.name):
                        done = await self._clean(entry.key.name)
                    pending |= not done
            if pending:
                await asyncio.sleep(RETRY_SECONDS)
                self._deleting.set()

    async def _clean(self, name: str) -> bool:
        """Delete the objects of a CRD; report whether it is gone. It need not be one that can be served."""
        plural, _, group = name.partition(".")
        if self._catalogue.is_builtin(group, plural):
            return await self._release(name)  # it never had objects: those are not its own
        try:
            await self._cache.fresh()
            info = self._catalogue.storage(group, plural) or _unserved(group, plural)
            for entry in self._cache.objects(group, plural):
                try:
                    await self._resources.delete(
                        replace(info, namespaced=bool(entry.key.namespace)),
                        namespace=entry.key.namespace,
                        name=entry.key.name,
                        options=DeleteOptions(),
                    )
                except NotFoundError:
                    continue
            await self._cache.fresh()
        except HanseError as error:
            _log.warning("a CRD cannot be cleaned up yet", name=name, error=str(error))
            return False
        return not self._cache.objects(group, plural) and await self._release(name)

    async def _release(self, name: str) -> bool:
        """Let a CRD go; report whether it is gone."""
        crds = self._catalogue.require(GROUP, "v1", PLURAL)
        try:
            await self._resources.release(crds, name=name, finalizer=CLEANUP)
        except NotFoundError:
            return True
        except HanseError as error:
            _log.warning("a CRD cannot be let go yet", name=name, error=str(error))
            return False
        return True


def _unserved(group: str, plural: str) -> ResourceInfo:
    """Return a resource of which no more is known than where its objects are stored."""
    return ResourceInfo(
        group=group, version="v1", kind=plural, plural=plural, singular=plural, namespaced=True,
        storage_group=group, storage_version="v1", storage_resource=plural, custom=True,
    )  # fmt: skip


def _deprecation(spec: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    """Return what whoever uses a version is warned of, "" for one that is not deprecated."""
    if version.get("deprecated") is not True:
        return ""
    kind = mapping(spec, "names").get("kind")
    said = f"{spec.get('group')}/{version['name']} {kind} is deprecated"
    return text(version.get("deprecationWarning")) or said


def _same_kind(one: ResourceInfo, other: ResourceInfo) -> bool:
    """Report whether two resources are different ones of the same kind."""
    return (one.group, one.kind) == (other.group, other.kind) and one.plural != other.plural
