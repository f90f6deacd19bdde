"""What is known of a kind stands in its declaration, its strategy and one table of each service."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from hanse.kube.kinds.builtin import KUBERNETES

ROOT: Final = Path(__file__).parents[3]
DECLARATIONS: Final = ROOT / "src/hanse/kube/kinds/kubernetes"
ROOTS: Final = ("src/hanse", "services", "local/hanse_simulator")
"""Not the clients, which know the contracts only, and not the installation, whose manifests are kubectl's."""

NAMES: Final = {name for kind in KUBERNETES for name in (kind.name, kind.plural)}
PAIRS: Final = {pair for kind in KUBERNETES for pair in (kind.group_kind, kind.group_plural)}
WORDS: Final = frozenset({"endpoints", "events", "nodes", "pods", "secrets"})
"""Fields of objects, and words, that are called as a kind is: they name it only beside its group."""

EXCEPTIONS: Final = {
    "src/hanse/kube/kinds/strategies/networking.py": ({"Ingress"}, "a direction of a NetworkPolicy"),
    "src/hanse/kube/kinds/strategies/security.py": ({"ClusterRole", "Role"}, "what a reference may name"),
    "src/hanse/kube/kinds/types/networking.py": ({"Ingress", "Namespace"}, "a direction, and a scope"),
    "src/hanse/kube/kinds/types/policies.py": (
        {
            "ClusterRole", "PersistentVolumeClaim", "Pod", "PriorityClass", "Role", "ServiceAccount",
            "VolumeAttributesClass", "persistentvolumeclaims",
        },
        "values of fields: what a reference, a limit or a quota may name",
    ),
    "src/hanse/kube/kinds/types/resources.py": (
        {"configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "services"},
        "resources that a quota counts",
    ),
    "src/hanse/kube/kinds/types/volumes.py": ({"PersistentVolumeClaim"}, "what a source may name"),
    "src/hanse/kube/model/events.py": ({"Event"}, "below the kinds; it makes one object"),
    "src/hanse/security/rings.py": ({"secrets"}, "the name of a key ring"),
    "src/hanse/security/sealing.py": (
        {
            "configmaps", "limitranges", "namespaces", "persistentvolumeclaims", "persistentvolumes",
            "podtemplates", "replicationcontrollers", "resourcequotas", "serviceaccounts", "services",
        },
        "below the kinds; the words of the setting sealed_kinds",
    ),
    "src/hanse/store/__init__.py": ({"Event"}, "an event of a watch"),
    "src/hanse/paths.py": ({"namespaces"}, "below the kinds; the path of a namespace's key"),
    "src/hanse/store/rights.py": ({"services"}, "below the kinds; what dns may read"),
    "services/dns/hanse_dns/names.py": ({"Service"}, "a word of messages"),
    "local/hanse_simulator/faults.py": ({"namespaces"}, "a field of a rule of faults"),
}  # fmt: skip
"""Modules that name kinds nevertheless, and why."""


def sources() -> Iterator[Path]:
    """The modules in which no kind is to be named."""
    for root in ROOTS:
        for path in sorted((ROOT / root).rglob("*.py")):
            if DECLARATIONS not in path.parents and ROOT / "src/hanse/api" not in path.parents:
                yield path


def named(source: str) -> set[str]:
    """The kinds that a module names in literals."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in NAMES - WORDS:
            found.add(node.value)
        items = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else []
        items = node.args if isinstance(node, ast.Call) else items
        literals = [item.value if isinstance(item, ast.Constant) else None for item in items]
        found |= {str(name) for group, name in pairwise(literals) if (group, name) in PAIRS}
    return found


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_table_elsewhere_names_a_kind(path: Path) -> None:
    """A module takes a kind from its declaration, so that its name is written once."""
    allowed, _ = EXCEPTIONS.get(str(path.relative_to(ROOT)), (set(), ""))
    assert named(path.read_text()) - allowed == set()


@pytest.mark.parametrize("module", EXCEPTIONS)
def test_the_exceptions_are_still_needed(module: str) -> None:
    """What names no kind any more leaves the list."""
    allowed, _ = EXCEPTIONS[module]
    every = {
        node.value
        for node in ast.walk(ast.parse((ROOT / module).read_text()))
        if isinstance(node, ast.Constant)
    }
    assert allowed <= every


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('RULES = {("apps", "Deployment"): 1}', {"Deployment"}),
        ('if obj["kind"] == "Job": pass', {"Job"}),
        ('if key == ("", "pods"): pass', {"pods"}),
        ('ObjectKey("", "secrets", "shop", "db")', {"secrets"}),
        ('quota = {"pods": 3}', set()),
        ('x = ("metrics.k8s.io", "pods")', set()),
        ("x = core.POD.name", set()),
    ],
)
def test_a_name_in_a_table_is_seen(source: str, names: set[str]) -> None:
    """By kind or by resource, in tables and comparisons; fields that are called so are not meant."""
    assert named(source) == names


def test_each_declaration_is_in_one_module() -> None:
    """A name of a kind is written once for each group that has it."""
    literals = [
        node.value
        for path in DECLARATIONS.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in NAMES
    ]
    assert len(literals) == 2 * len(KUBERNETES)
