"""Whether etcd is fit to be changed: all members there and of one mind, no alarm, room, one version.

Owns what is asked of each member (`examine`) and what of the answers stands in the way (`faults`, pure).
Where etcd has authentication, newer releases tell alarms to the role `root` alone.

Concurrency: each member is asked by itself, all at the same time, within seconds.

Next: `hanse.store.admin.maintenance`, which looks after etcd from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from etcd3aio import _protobuf as pb

from hanse.errors import HanseError, PermissionDeniedError
from hanse.process.settings import TlsFiles
from hanse.store.etcd.channel import EtcdChannel, open_channel

ASK_SECONDS: Final = 5.0
FULL: Final = 0.9
"""What of the quota may be in use; the rest is kept for deletes (`hanse.store.admin.upkeep`)."""
_GET_ALARMS: Final = 0
_ALARMS: Final[Mapping[int, str]] = {1: "NOSPACE", 2: "CORRUPT"}
_REMEDIES: Final[Mapping[str, str]] = {
    "NOSPACE": "make room first (docs/operations.md, When etcd is full)",
    "CORRUPT": "what is stored differs between members: replace that member (docs/install.md, Replacing a "
    "member of etcd), or restore a backup",
}


@dataclass(frozen=True, slots=True)
class EtcdMember:
    """What one member says of itself. Sizes are in bytes; a quota of 0 is one that it does not tell."""

    id: int
    version: str
    leader: int
    in_use: int
    quota: int = 0


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found."""

    listed: Mapping[int, str] = field(default_factory=dict)
    """Names of the members that etcd says it has, by id; empty is the name of one that never started."""
    learners: frozenset[int] = frozenset()
    members: tuple[EtcdMember, ...] = ()
    silent: Mapping[str, str] = field(default_factory=dict)
    """Why not, for each endpoint that does not answer."""
    alarms: tuple[tuple[int, str], ...] = ()
    """Member and alarm."""
    unreadable: str = ""
    """Why a read that needs a majority failed."""


async def examine(
    endpoints: Sequence[str], *, tls: TlsFiles | None, tls_server_name: str | None = None
) -> Checkup:
    """Ask each endpoint. Raises PermissionDeniedError if etcd does not tell."""
    answers = await asyncio.gather(
        *(_ask(each, tls=tls, tls_server_name=tls_server_name) for each in endpoints), return_exceptions=True
    )
    members: list[EtcdMember] = []
    silent: dict[str, str] = {}
    found: _Whole | None = None
    for endpoint, answer in zip(endpoints, answers, strict=True):
        if isinstance(answer, PermissionDeniedError) or not isinstance(answer, HanseError | tuple):
            raise answer
        if isinstance(answer, HanseError):
            silent[endpoint] = answer.message
            continue
        members.append(answer[0])
        found = found if found is not None and not found.unreadable else answer[1]
    if found is None:
        return Checkup(silent=silent)
    return Checkup(
        listed=found.listed,
        learners=found.learners,
        members=tuple(members),
        silent=silent,
        alarms=found.alarms,
        unreadable=found.unreadable,
    )


@dataclass(frozen=True, slots=True)
class _Whole:
    """What one member says of all."""

    listed: dict[int, str]
    learners: frozenset[int]
    alarms: tuple[tuple[int, str], ...]
    unreadable: str


async def _ask(
    endpoint: str, *, tls: TlsFiles | None, tls_server_name: str | None
) -> tuple[EtcdMember, _Whole]:
    channel = await open_channel([endpoint], tls=tls, tls_server_name=tls_server_name, timeout=ASK_SECONDS)
    try:
        status: Any = await channel.read(
            channel.maintenance.Status, pb.StatusRequest(), what="read etcd's status"
        )
        member = EtcdMember(
            id=int(status.header.member_id),
            version=str(status.version),
            leader=int(status.leader),
            in_use=int(status.dbSizeInUse),
            quota=int(status.dbSizeQuota),
        )
        listed: Any = await channel.read(
            pb.ClusterStub(channel._channel).MemberList,
            pb.MemberListRequest(linearizable=False),
            what="read etcd's members",
        )
        unreadable = await _read(channel)
        return member, _Whole(
            listed={int(each.ID): str(each.name) for each in listed.members},
            learners=frozenset(int(each.ID) for each in listed.members if each.isLearner),
            alarms=() if unreadable else await _alarms(channel),
            unreadable=unreadable,
        )
    finally:
        await channel.close()


async def _alarms(channel: EtcdChannel) -> tuple[tuple[int, str], ...]:
    """Member and kind of each alarm. etcd tells them only where there is a majority."""
    raised: Any = await channel.read(
        channel.maintenance.Alarm, pb.AlarmRequest(action=_GET_ALARMS), what="read etcd's alarms"
    )
    return tuple(
        (int(each.memberID), _ALARMS.get(each.alarm, f"of kind {each.alarm}")) for each in raised.alarms
    )


async def _read(channel: EtcdChannel) -> str:
    """Return why a linearizable read fails; empty if it does not."""
    try:
        await channel.read(channel.kv.Range, pb.RangeRequest(key=b"health"), what="read from etcd")
    except PermissionDeniedError:
        return ""  # it was answered
    except HanseError as error:
        return error.message
    return ""


def faults(found: Checkup, *, quota: int = 0) -> list[str]:
    """Return what stands in the way of a change, each with its remedy. `quota` is for a member that tells
    none.
    """
    if not found.members:
        told = "; ".join(f"{where}: {why}" for where, why in found.silent.items())
        return [f"no member of etcd answers ({told}): bring them back first"]
    return [*_missing(found), *_alarming(found), *_disagreeing(found), *_crowded(found, quota)]


def _missing(found: Checkup) -> list[str]:
    answered = {each.id for each in found.members}
    away = [name for id_, name in found.listed.items() if id_ not in answered and name]
    told: list[str] = []
    if found.silent:
        why = "; ".join(f"{where}: {what}" for where, what in found.silent.items())
        told.append(
            f"of the members of etcd {', '.join(away) or 'one'} does not answer ({why}): bring it back, or "
            "replace it (docs/install.md, Replacing a member of etcd)"
        )
    elif away:
        told.append(
            f"etcd has the members {', '.join(away)}, which are at none of the endpoints that were asked: "
            "name them too, or remove them (docs/install.md, Replacing a member of etcd)"
        )
    if "" in found.listed.values():
        told.append("etcd waits for a member that was added and never started: start it, or remove it")
    told += [
        f"the member {found.listed[each] or f'{each:x}'} of etcd is a learner: promote it, or remove it"
        for each in sorted(found.learners)
    ]
    return told


def _alarming(found: Checkup) -> list[str]:
    return [
        f"etcd has raised the alarm {alarm} for its member {found.listed.get(id_) or f'{id_:x}'}: "
        f"{_REMEDIES.get(alarm, 'see what etcd says of it')}"
        for id_, alarm in found.alarms
    ]


def _disagreeing(found: Checkup) -> list[str]:
    told: list[str] = []
    leaders = {each.leader for each in found.members}
    if leaders == {0} or found.unreadable:
        told.append(
            f"etcd has no leader, or no majority ({found.unreadable or 'nobody leads'}): bring its members "
            "back first"
        )
    elif len(leaders) > 1:
        told.append("the members of etcd do not agree on who leads: wait until they do, and try again")
    versions = sorted({each.version for each in found.members})
    if len(versions) > 1:
        told.append(
            f"the members of etcd are of several versions ({', '.join(versions)}): finish that update first"
        )
    return told


def _crowded(found: Checkup, quota: int) -> list[str]:
    for each in found.members:
        bound = each.quota or quota
        if bound and each.in_use > FULL * bound:
            told = (
                f"etcd uses {each.in_use} of its {bound} bytes: delete what is not needed, or raise its quota"
            )
            return [f"{told} first (docs/operations.md, Keeping etcd small)"]
    return []
