"""Member admission: whether members are asked before an object is stored, and what becomes of their refusal.

Owns the modes and who sets them. Off: nobody is asked. Warn: the object is stored, and whoever writes it is
told what a member would refuse it for. Refuse: it is not stored. The most special one that says something
counts: the placement policy that decides where the object goes (`spec.memberAdmission`), the annotation
`hanse.dev/member-admission` of its namespace, the setting `member_admission` of the apiserver. Where nobody
says anything it is Warn for kinds of which the federation's own validation does not check all that a
kube-apiserver checks, and for custom resources, of which only their definition says what they must be; and
Off for all others, whose verdict is a member's.

Pure. Next: `hanse_apiserver.member_admission`, which asks.
"""

from __future__ import annotations

import enum

from hanse.kube.kinds.resource_info import ResourceInfo


class AdmissionMode(enum.StrEnum):
    """What becomes of the refusal of a member."""

    OFF = "Off"
    WARN = "Warn"
    REFUSE = "Refuse"


def mode_of(said: object) -> AdmissionMode | None:
    """Return the mode that a setting, an annotation or a field of a policy names; None for anything else."""
    return AdmissionMode(said) if isinstance(said, str) and said in list(AdmissionMode) else None


def default_mode(info: ResourceInfo) -> AdmissionMode:
    """Return the mode for objects of a kind of which nobody says anything."""
    return AdmissionMode.WARN if info.custom or info.lenient else AdmissionMode.OFF


def effective_mode(
    info: ResourceInfo,
    *,
    policy: AdmissionMode | None = None,
    namespace: AdmissionMode | None = None,
    federation: AdmissionMode | None = None,
) -> AdmissionMode:
    """Return the mode that counts for an object of a kind, of those that are said; None is not said."""
    return next((mode for mode in (policy, namespace, federation) if mode is not None), default_mode(info))
