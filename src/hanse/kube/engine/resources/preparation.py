"""What an object goes through before it is stored: decoding, defaults, admission, validation, ownership.

Stateless but for its constructor arguments; admission may wait, and large objects are worked at in a thread
(`hanse.turns`). Next: the pure steps themselves, in `hanse.kube.kinds.decoding`, `hanse.kube.kinds.defaults`,
`hanse.kube.validation.objects`, `hanse.kube.merge.managed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, assert_never

import orjson

from hanse.documents import MAX_DEPTH, TOO_LARGE, check_bounds
from hanse.errors import InvalidArgumentError
from hanse.kube.engine.hooks import Admission, AdmissionRequest, Operation, ValidatingAdmission
from hanse.kube.engine.options import DeleteOptions, WriteOptions
from hanse.kube.engine.resources import errors
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.decoding import decode
from hanse.kube.kinds.defaults import apply_defaults, carried_over
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.merge.managed import update_managed_fields, with_managed, without_managed
from hanse.kube.merge.patch import json_patch, merge_patch, strategic_merge_patch
from hanse.kube.merge.schema import Schema
from hanse.kube.model.objects import Object, mapping
from hanse.kube.validation.objects import validate, validate_update
from hanse.store.keys import ObjectKey
from hanse.turns import Turns, is_heavy

MAX_OBJECT_DEPTH = MAX_DEPTH - 10
"""Maps and lists inside each other in an object; its managedFields have some more, and can be sent back."""

MAX_PATCHED_BYTES = 3 * 1024 * 1024
"""Bytes of an object after a patch, with the status that is not stored; as those of a request's body."""


def complain(info: ResourceInfo, unknown: Sequence[str], options: WriteOptions) -> None:
    """Refuse or warn of what an object has and what is ignored of it, as the client asked.

    `unknown` are sentences about its unknown fields; one that is said more than once is just unknown. Raises
    InvalidArgumentError with Strict.
    """
    repeated = options.repeated
    names = tuple(each.removeprefix("unknown field ").strip('"') for each in unknown)
    found = tuple(each for each in repeated.found if not _is_about(each, names))
    if options.field_validation == "Strict":
        complaints = [*replace(repeated, found=found).refusal, *unknown]
        if complaints:
            raise errors.undecodable(info, f"strict decoding error: {', '.join(complaints)}")
    if options.field_validation == "Warn":
        options.warnings.extend(c for c in (*found, *unknown) if c not in options.warnings)


def _is_about(complaint: str, fields: Sequence[str]) -> bool:
    """Report whether a repeated field is one of some, or in one of them."""
    path = complaint.removeprefix("duplicate field ").strip('"')
    return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in fields)


class ObjectPreparation:
    """Turns what a client sent into what is stored."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        admission: Sequence[Admission],
        validating: Sequence[ValidatingAdmission] = (),
        clock: Callable[[], datetime],
        turns: Turns,
        added: Sequence[str] = (),
    ) -> None:
        """Prepare writes. `added` are paths that a view adds to what is served: unknown, and no mistake.
        `turns` is where large objects are worked at.
        """
        self._turns = turns
        self._added = frozenset(added)
        self._catalogue = catalogue
        self._admission = tuple(admission)
        self._validating = tuple(validating)
        self._clock = clock

    def schema(self, info: ResourceInfo) -> Schema | None:
        """Return the schema of a resource in its version."""
        return self._catalogue.schema(info)

    def patch(
        self, info: ResourceInfo, base: Object, patch: Any, patch_type: Literal["json", "merge", "strategic"]
    ) -> Object:
        """Return `base` after a patch. Raises InvalidArgumentError."""
        match patch_type:
            case "json":
                patched = json_patch(base, patch)
            case "merge":
                patched = merge_patch(base, patch)
            case "strategic":
                patched = strategic_merge_patch(base, patch, self.schema(info))
            case _:
                assert_never(patch_type)
        check_bounds(patched, what="the patched object")
        size = len(orjson.dumps(patched))
        if size > MAX_PATCHED_BYTES:
            raise InvalidArgumentError(
                f"the patched object has {size} bytes, more than {MAX_PATCHED_BYTES}", reason=TOO_LARGE
            )
        return patched

    def decode(
        self, info: ResourceInfo, obj: Object, options: WriteOptions, *, keep_nulls: bool = False
    ) -> Object:
        """Return the object without unknown fields, which are reported as the client asked.

        Raises InvalidArgumentError for what is too deep, for values of the wrong type and, with Strict, for
        unknown fields.
        """
        check_bounds(without_managed(obj), what="the object", deepest=MAX_OBJECT_DEPTH)
        decoded = decode(obj, self.schema(info), keep_nulls=keep_nulls)
        schema = self.schema(info)
        if decoded.errors and schema is not None and not schema.builtin:
            raise errors.invalid_object(info, str(mapping(obj, "metadata").get("name") or ""), decoded.errors)
        if decoded.errors:
            listed = "; ".join(e.message or str(e) for e in decoded.errors[: errors.MAX_CAUSES])
            raise errors.undecodable(info, listed)
        unknown = [path for path in decoded.unknown if path not in self._added]
        if unknown or options.repeated.found:
            complaints = [f'unknown field "{path}"' for path in unknown[: errors.MAX_CAUSES]]
            if len(unknown) > errors.MAX_CAUSES:
                complaints.append(f"{len(unknown) - errors.MAX_CAUSES} unknown fields more")
            complain(info, complaints, options)
        return decoded.obj

    async def prepare(
        self,
        info: ResourceInfo,
        key: ObjectKey,
        new: Object,
        old: Object | None,
        *,
        operation: Operation,
        options: WriteOptions,
        subresource: str = "",
        applied: bool = False,
    ) -> Object:
        """Return the object to store: defaulted, admitted, valid, with managedFields.

        `applied` says that a server-side apply has kept managedFields already. Raises InvalidObjectError, and
        whatever an admission raises.
        """
        stored = self._catalogue.storage(info.storage_group, info.storage_resource) or info
        schema = self.schema(stored)
        heavy = is_heavy(new) or is_heavy(old)
        written = new
        new = read = await self._turns.run(heavy, apply_defaults, new, schema, strategy=stored.strategy)
        if old is not None and not subresource and stored.strategy.carry_over is not None:
            new = read = await self._turns.run(heavy, carried_over, old, new, strategy=stored.strategy)
        for admission in self._admission:
            request = AdmissionRequest(
                operation=operation, info=stored, key=key, object=new, old=old, subresource=subresource,
                user=options.user, dry_run=options.dry_run, warnings=options.warnings, written=written,
                until_done=options.until_done,
            )  # fmt: skip
            new = await admission.admit(request)
        decoded = new is read and stored is info
        problems = await self._turns.run(
            heavy, validate, new, schema, strict=False, strategy=stored.strategy, decoded=decoded,
            new=old is None,
        )  # fmt: skip
        if problems and old is not None:
            # What an older release let in may stay, so that the object can still be changed otherwise.
            had = await self._turns.run(heavy, validate, old, schema, strict=False, strategy=stored.strategy)
            problems = [problem for problem in problems if problem not in had]
        if old is not None:
            problems += await self._turns.run(heavy, validate_update, old, new, strategy=stored.strategy)
            if subresource:
                problems += stored.strategy.subresource_rules(old, new, subresource)
        if problems:
            raise errors.invalid_object(info, key.name, problems)
        for last in self._validating:
            request = AdmissionRequest(
                operation=operation, info=stored, key=key, object=new, old=old, subresource=subresource,
                user=options.user, dry_run=options.dry_run, warnings=options.warnings, written=written,
            )  # fmt: skip
            await last.check(request)
        if applied:
            return new
        fields = await self._turns.run(
            heavy, update_managed_fields, old, new, manager=options.manager, schema=schema, now=self._clock(),
            subresource=subresource,
        )  # fmt: skip
        return with_managed(new, fields)

    async def admit_delete(
        self, info: ResourceInfo, key: ObjectKey, old: Object, options: DeleteOptions
    ) -> None:
        """Ask every admission about a delete. Raises what they raise."""
        for admission in self._admission:
            request = AdmissionRequest(
                operation="DELETE", info=info, key=key, object=old, old=old, subresource="",
                user=options.user, dry_run=options.dry_run, warnings=options.warnings,
                until_done=options.until_done,
            )  # fmt: skip
            await admission.admit(request)
