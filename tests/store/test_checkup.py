"""Whether etcd is fit for an upgrade: what each fault is told with, and a real etcd of three members."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from hanse.store.admin.checkup import Checkup, EtcdMember, examine, faults
from hanse.store.admin.roles import ROOT
from tests.support.stores.etcd_cluster import EtcdCluster

MEMBERS = tuple(
    EtcdMember(id=number, version="3.5.35", leader=1, in_use=10, quota=100) for number in (1, 2, 3)
)
WELL = Checkup(listed={1: "a", 2: "b", 3: "c"}, members=MEMBERS)


def test_what_is_well_has_no_fault() -> None:
    """Nor has one that tells no quota."""
    assert faults(WELL) == []
    assert faults(replace(WELL, members=tuple(replace(each, quota=0, in_use=99) for each in MEMBERS))) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Checkup(silent={"x:1": "refused"}), "no member of etcd answers (x:1: refused)"),
        (replace(WELL, members=MEMBERS[:2], silent={"x:1": "gone"}), "etcd c does not answer (x:1: gone)"),
        (replace(WELL, members=MEMBERS[:1]), "etcd has the members b, c, which are at none of the endpoints"),
        (replace(WELL, listed={**WELL.listed, 4: "old"}), "etcd has the members old, which are at none"),
        (replace(WELL, listed={**WELL.listed, 4: ""}), "a member that was added and never started"),
        (replace(WELL, learners=frozenset({3})), "the member c of etcd is a learner"),
        (replace(WELL, alarms=((2, "NOSPACE"),)), "alarm NOSPACE for its member b: make room first"),
        (replace(WELL, alarms=((2, "CORRUPT"),)), "alarm CORRUPT for its member b: what is stored differs"),
        (replace(WELL, unreadable="no leader"), "no majority (no leader)"),
        (replace(WELL, members=tuple(replace(m, leader=0) for m in MEMBERS)), "nobody leads"),
        (replace(WELL, members=(*MEMBERS[:2], replace(MEMBERS[2], leader=2))), "do not agree on who leads"),
        (replace(WELL, members=(*MEMBERS[:2], replace(MEMBERS[2], version="3.6.1"))), "(3.5.35, 3.6.1)"),
        (
            replace(WELL, members=(replace(MEMBERS[0], in_use=91), *MEMBERS[1:])),
            "etcd uses 91 of its 100",
        ),
    ],
)
def test_each_fault_is_told_with_its_remedy(found: Checkup, said: str) -> None:
    """One line for each, and no other."""
    (told,) = faults(found)
    assert said in told
    assert ": " in told


def test_a_quota_that_etcd_does_not_tell_is_that_of_the_settings() -> None:
    """etcd before 3.6 tells none."""
    silent = replace(WELL, members=(replace(MEMBERS[0], quota=0, in_use=91), *MEMBERS[1:]))
    (told,) = faults(silent, quota=100)
    assert "etcd uses 91 of its 100 bytes" in told


def test_a_real_etcd(tmp_path: Path) -> None:
    """Three members that are well, of which one is full, then one lost, then two."""
    with EtcdCluster(tmp_path / "etcd") as etcd:
        etcd.give_rights()

        def found() -> list[str]:
            return faults(asyncio.run(examine(etcd.endpoints, tls=etcd.tls(ROOT))))

        assert found() == []
        etcd.alarm(raised=True)
        (told,) = found()
        assert f"alarm NOSPACE for its member {etcd.leader().name}" in told
        etcd.alarm(raised=False)
        lost, leader = etcd.follower(), etcd.leader()
        etcd.kill(lost)
        (told,) = found()
        assert f"of the members of etcd {lost.name} does not answer ({lost.endpoint}: " in told
        etcd.kill(leader)
        assert any("no majority" in each for each in found())
