"""Names and amounts of resources: of containers, quotas and limits.

Pure. Next: `hanse.kube.kinds.types.containers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from hanse.kube.kinds.types.checks import amount
from hanse.kube.model.fielderrors import FieldError, forbidden, invalid, required
from hanse.kube.model.names import qualified_name_problems
from hanse.kube.model.objects import mapping

_WHOLE: Final = 1_000_000_000
CONTAINER_RESOURCES: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
"""What a container may ask for, besides huge pages and extended resources."""

COUNTED: Final = frozenset(
    {
        "configmaps",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "services",
        "services.loadbalancers",
        "services.nodeports",
    }
)
"""What a quota counts in whole numbers."""

QUOTA_RESOURCES: Final = COUNTED | {
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
}
"""What a quota may bound, besides huge pages and what has a domain."""

_STANDARD: Final = QUOTA_RESOURCES | {"storage"}


def is_huge_page(name: str) -> bool:
    """Report whether it is the resource of huge pages of some size."""
    return name.startswith("hugepages-")


def is_native(name: str) -> bool:
    """Report whether a resource belongs to Kubernetes."""
    return "/" not in name or "kubernetes.io/" in name


def may_be_overcommitted(name: str) -> bool:
    """Report whether more may be limited than is requested."""
    return is_native(name) and not is_huge_page(name)


def is_counted(name: str) -> bool:
    """Report whether there are only whole ones."""
    return name in COUNTED or not is_native(name)


def name_errors(name: str, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the name of a resource of whatever sort."""
    problems = qualified_name_problems(name)
    for problem in problems:
        yield invalid(where, name, problem)
    huge = is_huge_page(name) or name.startswith("requests.hugepages-")
    if not problems and "/" not in name and name not in _STANDARD and not huge:
        yield invalid(where, name, "must be a standard resource type or fully qualified")


def container_name_errors(name: str, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the name of a resource that a container may have."""
    found = list(name_errors(name, where))
    yield from found
    if "/" not in name:
        if name not in CONTAINER_RESOURCES and not is_huge_page(name) and not found:
            yield invalid(where, name, "must be a standard resource for containers")
    elif (
        not found
        and not is_native(name)
        and (name.startswith("requests.") or len(qualified_name_problems(f"requests.{name}")) > 0)
    ):
        yield invalid(where, name, "doesn't follow extended resource name standard")


def quota_name_errors(name: str, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the name of a resource that a quota may bound."""
    found = list(name_errors(name, where))
    yield from found
    huge = is_huge_page(name) or name.startswith("requests.hugepages-")
    if "/" not in name and name not in QUOTA_RESOURCES and not huge and not found:
        yield invalid(where, name, "must be a standard resource for quota")


def amount_errors(name: str, value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with an amount of a resource."""
    found = amount(value)
    if found is None:
        return
    if found < 0:
        yield invalid(where, str(value), "must be greater than or equal to 0")
    if is_counted(name) and found % _WHOLE:
        yield invalid(where, str(value), "must be an integer")


def requirements_errors(value: Mapping[str, Any], where: str) -> Iterator[FieldError]:
    """Yield what is wrong with requests and limits, whoever has them; their names are not looked at."""
    limits, requests = mapping(value, "limits"), mapping(value, "requests")
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, said in amounts.items():
            yield from amount_errors(name, said, f"{where}.{field}[{name}]")
            found = amount(said)
            if is_huge_page(name) and found is not None and not _fits_pages(name, found):
                yield invalid(
                    f"{where}.{field}[{name}]", str(said), "must be a multiple of the size of a page"
                )
    for name, said in requests.items():
        asked, most = amount(said), amount(limits[name]) if name in limits else None
        if name not in limits:
            if not may_be_overcommitted(name):
                yield required(f"{where}.limits", "Limit must be set for non overcommitable resources")
        elif asked is not None and most is not None:
            if asked != most and not may_be_overcommitted(name):
                yield invalid(
                    f"{where}.requests", str(said), f"must be equal to {name} limit of {limits[name]}"
                )
            elif asked > most:
                message = f"must be less than or equal to {name} limit of {limits[name]}"
                yield invalid(f"{where}.requests", str(said), message)
    names = limits.keys() | requests.keys()
    if any(map(is_huge_page, names)) and not names & {"cpu", "memory"}:
        yield forbidden(where, "HugePages require cpu or memory")


def _fits_pages(name: str, found: int) -> bool:
    size = amount(name.removeprefix("hugepages-"))
    return bool(size) and found % int(size or 1) == 0


def container_resources(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the requests and limits of a container."""
    for field in ("limits", "requests"):
        for name in mapping(value, field):
            yield from container_name_errors(name, f"{where}.{field}[{name}]")
    yield from requirements_errors(value, where)
