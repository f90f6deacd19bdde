"""What override policies change for one cluster, as RFC 6902 operations.

Owns turning rules (JSON patches, images, labels, annotations) into operations against an object's
template, and checking that they apply. Rules act one after the other, each on the result of those before.
Pure; objects are never changed in place.

Next: `hanse_scheduler.decide.decision`, which puts the operations into the placement; the syncer applies
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from hanse.errors import HanseError, InvalidArgumentError
from hanse.kube.merge.json_patch import MAX_POLICY_COPIED_BYTES, JsonPatcher
from hanse.kube.model.objects import Object, child, mapping, sequence
from hanse.security.envelope import MAX_OBJECT_BYTES
from hanse.well_known import is_instruction
from hanse_scheduler.decide.clusters import MemberCluster
from hanse_scheduler.decide.policies import ClusterChoice, OverridePolicy, OverrideRule

Operation = dict[str, Any]

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_POD_SPECS = (
    ("spec", "template", "spec"),
    ("spec", "jobTemplate", "spec", "template", "spec"),
    ("spec",),
)


@dataclass(frozen=True, slots=True)
class Overrides:
    """What one cluster gets differently. `operations` is a JSON array, empty for none."""

    operations: bytes = b""
    replicas: int | None = None
    policies: tuple[str, ...] = ()


NONE = Overrides()

MAX_OVERRIDE_BYTES = 256 * 1024
"""Bytes of operations, as JSON, that one cluster may get for one object: they are in its placement."""


def chosen(choice: ClusterChoice, cluster: MemberCluster) -> bool:
    """Return whether a rule or policy means the cluster."""
    return (
        cluster.name not in choice.excluded
        and (not choice.names or cluster.name in choice.names)
        and (choice.labels is None or choice.labels.matches(dict(cluster.labels)))
    )


class Overriding:
    """What the policies, in the order in which they apply, change of one object.

    Rules are carried out once for all clusters that the same rules mean. One that is used for a decision is
    dropped with it.
    """

    def __init__(self, obj: Object, policies: Iterable[OverridePolicy]) -> None:
        self._obj = _rendered(obj)
        self._policies = tuple(policies)
        self._kept: dict[tuple[tuple[int, int], ...], Overrides | _Refused] = {}

    def for_cluster(self, cluster: MemberCluster) -> Overrides:
        """Return what changes for a cluster.

        Raises InvalidArgumentError that names the policy, the rule and the cluster if a change does not
        apply, or costs too much.
        """
        rules = []
        for number, policy in enumerate(self._policies):
            if policy.head.error:
                raise InvalidArgumentError(policy.head.error, reason="BAD_POLICY")
            rules += [(number, i) for i, rule in enumerate(policy.rules) if chosen(rule.choice, cluster)]
        key = tuple(rules)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._carried_out(key)
        if isinstance(found, _Refused):
            raise InvalidArgumentError(
                f"{found.policy} cannot be applied for {cluster.name}: {found.problem}; correct the policy, "
                "or let it select other objects",
                reason="BAD_OVERRIDE",
            ) from found.error
        return found

    def _carried_out(self, rules: tuple[tuple[int, int], ...]) -> Overrides | _Refused:
        if not rules:
            return NONE
        operations: list[Operation] = []
        titles: list[str] = []
        replicas: int | None = None
        patcher = JsonPatcher(self._obj, max_copied=MAX_POLICY_COPIED_BYTES)
        title, problem = "", ""
        try:
            for number, index in rules:
                rule = self._policies[number].rules[index]
                title, problem = self._policies[number].head.title, f"rules[{index}]: "
                added = _operations(rule, patcher.document)
                patcher.apply(added)
                operations += added
                replicas = rule.replicas if rule.replicas is not None else replicas
                titles += [title] if title not in titles else []
            if operations:
                changed = patcher.result()
                _check_fixed(self._obj, changed)
                _check_size(changed)
        except HanseError as error:
            return _Refused(title, f"{problem}{error}", error)
        encoded = orjson.dumps(operations) if operations else b""
        if len(encoded) > MAX_OVERRIDE_BYTES:
            problem = f"the operations have {len(encoded)} bytes, more than {MAX_OVERRIDE_BYTES}"
            return _Refused(title, problem, None)
        return Overrides(operations=encoded, replicas=replicas, policies=tuple(titles))


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why rules cannot be carried out."""

    policy: str
    problem: str
    error: HanseError | None


def _check_size(obj: Object) -> None:
    size = len(orjson.dumps(obj))
    if size > MAX_OBJECT_BYTES:
        raise InvalidArgumentError(
            f"the object would have {size} bytes, more than the {MAX_OBJECT_BYTES} that an object may have"
        )


def _check_fixed(obj: Object, changed: Object) -> None:
    """Raise InvalidArgumentError if something is changed that no override may change."""
    before, after = mapping(obj, "metadata"), child(changed, "metadata")
    if not isinstance(after, dict):
        raise InvalidArgumentError("the object would have no metadata")
    fixed = [
        *(f"metadata.{name}" for name in before.keys() | after.keys()
          if name not in ("labels", "annotations") and before.get(name, ...) != after.get(name, ...)),
        *(name for name in ("apiVersion", "kind") if obj.get(name) != changed.get(name)),
    ]  # fmt: skip
    if fixed:
        raise InvalidArgumentError(
            f"{min(fixed)} would change: of the metadata, only labels and annotations may"
        )


def _rendered(obj: Object) -> Object:
    """Return the object as members get it, as far as overrides see a difference: without the annotations
    that are instructions to the federation, and without `annotations` if no others are left."""
    annotations = child(obj, "metadata", "annotations")
    if not isinstance(annotations, dict):
        return obj
    kept = {
        name: value
        for name, value in annotations.items()
        if name != _LAST_APPLIED and not is_instruction(name)
    }
    metadata = {name: value for name, value in obj["metadata"].items() if name != "annotations"}
    if kept:
        metadata["annotations"] = kept
    return {**obj, "metadata": metadata}


def _operations(rule: OverrideRule, obj: Object) -> list[Operation]:
    result: list[Operation] = []
    if rule.image:
        result += _images(rule.image, obj)
    result += _entries(rule.labels, obj, where="labels")
    result += _entries(rule.annotations, obj, where="annotations")
    result += [dict(operation) for operation in rule.operations]
    return result


def _entries(entries: Mapping[str, str], obj: Object, *, where: str) -> list[Operation]:
    """Return operations that set entries of metadata.labels or annotations; an empty value removes."""
    if not entries:
        return []
    present = child(obj, "metadata", where)
    result: list[Operation] = []
    if not isinstance(present, dict):
        present = {}
        if any(entries.values()):
            result.append({"op": "add", "path": f"/metadata/{where}", "value": {}})
    for name, value in sorted(entries.items()):
        path = f"/metadata/{where}/{_escape(name)}"
        if value:
            result.append({"op": "add", "path": path, "value": value})
        elif name in present:
            result.append({"op": "remove", "path": path})
    return result


def _images(change: Mapping[str, Any], obj: Object) -> list[Operation]:
    """Return operations that change the images of the containers that `change` names."""
    names = set(map(str, change.get("containers") or ()))
    result: list[Operation] = []
    for where in _POD_SPECS:
        spec = mapping(obj, *where)
        for kind in ("initContainers", "containers"):
            for index, container in enumerate(sequence(spec, kind)):
                image = child(container, "image")
                if not isinstance(image, str) or (names and child(container, "name") not in names):
                    continue
                wanted = rewrite_image(image, change)
                if wanted != image:
                    path = "/" + "/".join((*where, kind, str(index), "image"))
                    result.append({"op": "replace", "path": path, "value": wanted})
    return result


def rewrite_image(image: str, change: Mapping[str, Any]) -> str:
    """Return the image reference with the parts registry, repository, tag, digest that `change` has.

    A new tag drops the digest that was there, since a digest would win over it; a new digest drops the tag.
    """
    rest, _, digest = image.partition("@")
    first, slash, path = rest.partition("/")
    has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, remainder = (first, path) if has_registry else ("", rest)
    repository, _, tag = remainder.partition(":")
    if change.get("tag"):
        tag, digest = str(change["tag"]), ""
    if change.get("digest"):
        digest = str(change["digest"])
        tag = str(change.get("tag") or "")
    registry = str(change.get("registry") or registry).rstrip("/")
    repository = str(change.get("repository") or repository).strip("/")
    result = f"{registry}/{repository}" if registry else repository
    return result + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
