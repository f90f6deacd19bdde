"""The verdicts that differ on purpose, or are not worth what they would cost, each with its reason.

A pattern matches `Judged` as text, from its beginning. Pure. Next: `tests.real.verdicts.breaking`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from hanse.kube.kinds.builtin import KUBERNETES


class KnownVerdict(NamedTuple):
    """A pattern, and why it is so."""

    pattern: str
    reason: str


KNOWN_VERDICTS: Final = (
    KnownVerdict(r"meta\.v1\.ObjectMeta\.generation: ", "the federation counts generations itself"),
    KnownVerdict(r"meta\.v1\.ObjectMeta\.generateName: ", "the name that is made of it is checked"),
    KnownVerdict(r"meta\.v1\.ObjectMeta\.\S+: (Event|IPAddress|PodDisruptionBudget) ", "names of their own"),
    KnownVerdict(
        r"meta\.v1\.ObjectMeta\.ownerReferences: .* an item twice: only refused here",
        "kube-apiserver drops what is there twice; two controllers are a mistake here",
    ),
    KnownVerdict(r"core\.v1\.\S+: (Event|Node) |core\.v1\.Event", "Events and Nodes are members' own"),
    KnownVerdict(r".*Namespace .*pod-security", "an admission plugin that a member may run without"),
    KnownVerdict(r"core\.v1\.Namespace\S*: Namespace spec ", "finalizers in the spec are not the user's"),
    KnownVerdict(
        r"(core\.v1\.Topology|storage\.v1\.StorageClass\.allowed)\S*: .*Duplicate value: \"\"",
        "an empty term is said to be there twice; a member says so itself",
    ),
    KnownVerdict(r"apiextensions\.v1\.CustomResourceColumn\S*: .*jsonPath", "a path that shows nothing"),
    KnownVerdict(r"core\.v1\.Typed\S*: .*dataSource", "what a member drops depends on its feature gates"),
    KnownVerdict(r"core\.v1\.PersistentVolumeClaimSpec\.dataSource: StatefulSet ", "as in claims themselves"),
    KnownVerdict(
        r"core\.v1\.ServicePort\.nodePort: ", "the range is a member's; a dry run gives no port away"
    ),
    KnownVerdict(
        r"core\.v1\.(ServiceSpec\.healthCheckNodePort|ResourceRequirements\.claims): .*\[\]|"
        r"autoscaling\.v2\.HPAScalingRules\.policies: .*\[\]|core\.v1\.ResourceRequirements\.claims: ",
        "an empty list and none are the same here",
    ),
)


UNCLAIMED_KINDS: Final = tuple(kind.name for kind in KUBERNETES if kind.lenient)
"""Kinds of these groups, as lines name them: those whose declaration says so."""

UNCLAIMED: Final = (
    r"(admissionregistration|apiextensions|apiregistration|certificates|flowcontrol|resource)\."
)
"""Groups whose kinds the engine does not claim to check completely: it may accept what a member refuses."""


def is_known(line: str) -> bool:
    """Report whether a difference is meant."""
    if re.search(r": only refused there ", line) and re.match(UNCLAIMED, line):
        return True
    lax = re.search(rf": ({'|'.join(UNCLAIMED_KINDS)}) .*: only refused there ", line)
    return bool(lax) or any(re.match(known.pattern, line) for known in KNOWN_VERDICTS)
