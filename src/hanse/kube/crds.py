"""CustomResourceDefinitions: kinds that users add at run time.

`CrdAdmission` completes a CRD on its way in (names, accepted at once, since conflicts are checked first);
`CrdController` keeps the catalogue in step with the stored CRDs and removes the objects of a CRD that is
being deleted. The catalogue changes in the cache's own callback, so who sees a CRD can use it. Next:
`hanse.kube.catalogue`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog

from hanse.errors import HanseError, NotFoundError
from hanse.kube.cache import ObjectCache
from hanse.kube.catalogue import Catalogue
from hanse.kube.entry import Change
from hanse.kube.hooks import AdmissionRequest
from hanse.kube.lifecycle import invalid, timestamp
from hanse.kube.objects import Object, mapping, sequence
from hanse.kube.options import DeleteOptions
from hanse.kube.resource_info import PrinterColumn, ResourceInfo
from hanse.kube.resources import ResourceStore
from hanse.kube.status import Cause
from hanse.kube.validation_crds import crd_errors
from hanse.numbers import whole_number

GROUP, PLURAL = "apiextensions.k8s.io", "customresourcedefinitions"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""Finalizer that keeps a CRD until its objects are gone."""

RETRY_SECONDS = 1.0

_log = structlog.get_logger(__name__)
_AGE = PrinterColumn("Age", "date", ".metadata.creationTimestamp")


class CrdAdmission:
    """Completes CRDs: default names, the cleanup finalizer, and a status that says Established."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock

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
        now = timestamp(self._clock())
        storage = [str(v["name"]) for v in sequence(spec, "versions") if v.get("storage")]
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


def infos_of(crd: Object) -> list[ResourceInfo]:
    """Return the resources that a CRD defines: one for each served version, the newest first."""
    spec = crd["spec"]
    names = mapping(spec, "names")
    versions = sequence(spec, "versions")
    storage = next((str(v["name"]) for v in versions if v.get("storage")), "")
    ordered = sorted(versions, key=lambda v: _priority(str(v["name"])), reverse=True)
    result = []
    for version in ordered:
        if not version.get("served", True) and str(version["name"]) != storage:
            continue
        result.append(_info(spec, names, version, storage))
    return result


def _info(spec: Object, names: Object, version: dict[str, Any], storage: str) -> ResourceInfo:
    declared = mapping(version, "subresources")
    scale = mapping(declared, "scale")
    columns = tuple(
        PrinterColumn(
            c["name"],
            c["type"],
            c["jsonPath"],
            c.get("format", ""),
            c.get("description", ""),
            c.get("priority", 0),
        )
        for c in sequence(version, "additionalPrinterColumns")
    ) or (_AGE,)
    schema = mapping(version, "schema", "openAPIV3Schema")
    return ResourceInfo(
        group=str(spec["group"]),
        version=str(version["name"]),
        kind=str(names["kind"]),
        plural=str(names["plural"]),
        singular=str(names.get("singular") or str(names["kind"]).lower()),
        list_kind=str(names.get("listKind") or ""),
        namespaced=spec.get("scope") == "Namespaced",
        short_names=tuple(sequence(names, "shortNames")),
        categories=tuple(sequence(names, "categories")),
        subresources=tuple(name for name in ("status", "scale") if name in declared),
        storage_group=str(spec["group"]),
        storage_version=storage,
        storage_resource=str(names["plural"]),
        custom=True,
        schema=schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        columns=columns,
        selectable_fields=tuple(
            str(field["jsonPath"]).removeprefix(".") for field in sequence(version, "selectableFields")
        ),
        scale_paths=(
            str(scale.get("specReplicasPath", "")),
            str(scale.get("statusReplicasPath", "")),
            str(scale.get("labelSelectorPath", "")),
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

    def __init__(self, cache: ObjectCache, *, catalogue: Catalogue, resources: ResourceStore) -> None:
        self._cache = cache
        self._catalogue = catalogue
        self._resources = resources
        self._deleting = asyncio.Event()

    def start(self) -> None:
        """Serve the CRDs that are stored, and from now on every new one as soon as the cache has it."""
        for entry in self._cache.objects(GROUP, PLURAL):
            self._serve(entry.object)
        self._cache.subscribe(self._changed)

    def _changed(self, change: Change) -> None:
        if (change.key.group, change.key.resource) != (GROUP, PLURAL):
            return
        if change.type == "DELETED":
            group, plural = _storage_key(change.entry.object)
            if not self._catalogue.is_builtin(group, plural):
                self._catalogue.remove(group, plural)
        else:
            self._serve(change.entry.object)

    def _serve(self, crd: Object) -> None:
        problem = next(iter(crd_errors(crd)), None)
        if problem is not None:
            _log.error("a CRD cannot be served", name=crd["metadata"]["name"], error=str(problem))
            return
        infos = infos_of(crd)
        if infos and self._catalogue.is_builtin(infos[0].group, infos[0].plural):
            _log.error("a CRD would replace a built-in resource", name=crd["metadata"]["name"])
            return
        present = [i for i in self._catalogue if (i.group, i.plural) == infos[0].storage_key]
        if present != infos:
            self._catalogue.remove(infos[0].group, infos[0].plural)
            self._catalogue.add(infos)
        if crd["metadata"].get("deletionTimestamp"):
            self._deleting.set()

    async def run(self) -> None:
        """Remove the objects of CRDs that are being deleted, then the CRDs. Runs until cancelled."""
        while True:
            await self._deleting.wait()
            self._deleting.clear()
            pending = False
            for entry in self._cache.objects(GROUP, PLURAL):
                metadata = entry.object["metadata"]
                if metadata.get("deletionTimestamp") and CLEANUP in (metadata.get("finalizers") or ()):
                    pending |= not await self._clean(entry.object)
            if pending:
                await asyncio.sleep(RETRY_SECONDS)
                self._deleting.set()

    def _served(self, crd: Object) -> ResourceInfo | None:
        """Return the resource that a CRD defines; None for a CRD that is not served."""
        info = self._catalogue.storage(*_storage_key(crd))
        return info if info is not None and info.custom else None

    async def _clean(self, crd: Object) -> bool:
        """Delete the objects of a CRD; report whether it is gone."""
        try:
            await self._cache.fresh()
            info = self._served(crd)
            objects = self._cache.objects(*info.storage_key) if info else []
            for entry in objects:
                assert info is not None
                try:
                    await self._resources.delete(
                        info, namespace=entry.key.namespace, name=entry.key.name, options=DeleteOptions()
                    )
                except NotFoundError:
                    continue
            await self._cache.fresh()
            if info is not None and self._cache.objects(*info.storage_key):
                return False
            await self._resources.modify(
                self._catalogue.require(GROUP, "v1", PLURAL), name=crd["metadata"]["name"], change=_released
            )
        except NotFoundError:
            return True
        except HanseError as error:
            _log.warning("a CRD cannot be cleaned up yet", name=crd["metadata"]["name"], error=str(error))
            return False
        return True


def _storage_key(crd: Object) -> tuple[str, str]:
    spec = mapping(crd, "spec")
    return str(spec.get("group")), str(mapping(spec, "names").get("plural"))


def _released(crd: Object) -> Object | None:
    finalizers = [f for f in crd["metadata"].get("finalizers") or () if f != CLEANUP]
    return {**crd, "metadata": {**crd["metadata"], "finalizers": finalizers}}
