"""Processes are killed while work is going on; simulated and real members alike.

Next: `test_processes`.
"""

from __future__ import annotations

import pytest

from tests.chaos.bulk import Bulk, intent_everywhere, nothing_is_left
from tests.system.harness import NAMES, SERVICES, Federation, Witness

COUNT = 150
# Those that objects do not pass on their way need no long bulk.
COUNTS = {"registry": 50, "dns": 50}


class KillSuite:
    """kill -9."""

    @pytest.mark.parametrize("victim", [*SERVICES, "etcd"])
    def test_a_process_dies_in_the_middle_of_a_bulk(
        self, federation: Federation, ns: str, victim: str
    ) -> None:
        """After a bulk apply during which a process was killed, every member has exactly the intent, and
        nothing was ever deleted in a member but what somebody deleted: half of that has gone everywhere, and
        half was made again at once."""
        count = COUNTS.get(victim, COUNT)
        bulk = Bulk(federation.api, ns, count)
        early = Bulk(federation.api, ns, 1, prefix="early")
        early.create()
        early.until_in(federation.each.values())
        bulk.values |= early.values
        churn = Bulk(federation.api, ns, count // 5, prefix="churn")
        churn.create()
        churn.until_in(federation.each.values(), others=early.values)
        again, gone = list(churn.values)[::2], list(churn.values)[1::2]
        pids: list[int] = []
        with Witness(federation.each, namespace=ns, resources=["configmaps"]) as witness:
            bulk.create(at=count // 3, fault=lambda: pids.append(federation.kill(victim)))
            churn.delete(gone)
            churn.replace(again, "2")
            federation.await_back(victim, not_pid=pids[0])
            bulk.values |= churn.values
            intent_everywhere(federation, bulk)
        assert {each.name for each in witness.deleted} <= {*gone, *again}
        nothing_is_left(federation, ns)

    def test_a_hanging_member_delays_nobody(self, federation: Federation, ns: str) -> None:
        """While a member answers nothing and keeps its connections, the others get what is written; when it
        answers again it has exactly the intent, and nothing was deleted."""
        hanging, *others = NAMES
        bulk = Bulk(federation.api, ns, COUNT // 5)
        bulk.create()
        intent_everywhere(federation, bulk)
        with Witness(federation.each, namespace=ns, resources=["configmaps"]) as witness:
            federation.members.freeze(federation, hanging)
            try:
                bulk.update("2")
                bulk.until_in([federation.member(name) for name in others], seconds=20)
            finally:
                federation.members.thaw(federation, hanging)
            intent_everywhere(federation, bulk)
        assert witness.deleted == []

    def test_everything_dies_during_a_deletion(self, federation: Federation, ns: str) -> None:
        """A deletion that was asked for is finished although all services and etcd were killed meanwhile;
        what was not to be deleted is what it was."""
        bulk = Bulk(federation.api, ns, COUNT)
        bulk.create()
        intent_everywhere(federation, bulk)
        gone = [name for number, name in enumerate(bulk.values) if number % 3]
        kept = {
            (cluster, item["metadata"]["uid"])
            for cluster, api in federation.each.items()
            for item in api.list("configmaps", ns)
            if item["metadata"]["name"] in bulk.values.keys() - set(gone)
        }
        pids: dict[str, int] = {}

        def disaster() -> None:
            for name in ("syncer", "scheduler", "apiserver", "etcd", "registry", "dns"):
                pids[name] = federation.kill(name)

        bulk.delete(gone, at=len(gone) // 3, fault=disaster)
        for name, pid in pids.items():
            federation.await_back(name, not_pid=pid)
        intent_everywhere(federation, bulk)
        nothing_is_left(federation, ns)
        left = {
            (cluster, item["metadata"]["uid"])
            for cluster, api in federation.each.items()
            for item in api.list("configmaps", ns)
            if item["metadata"]["name"] in bulk.values
        }
        assert left == kept

    def test_a_restart_rewrites_nothing(self, federation: Federation, ns: str) -> None:
        """After all services were killed and are back, and all is in its place, no object of a member has
        another resourceVersion than before."""
        bulk = Bulk(federation.api, ns, COUNT // 3)
        bulk.create()
        intent_everywhere(federation, bulk)

        def versions() -> dict[str, dict[str, str]]:
            return {
                cluster: {
                    item["metadata"]["name"]: item["metadata"]["resourceVersion"]
                    for item in api.list("configmaps", ns)
                }
                for cluster, api in federation.each.items()
            }

        before = versions()
        pids = {name: federation.kill(name) for name in SERVICES}
        for name, pid in pids.items():
            federation.await_back(name, not_pid=pid)
        probe = Bulk(federation.api, ns, 1, prefix="probe")
        probe.create()
        probe.values |= bulk.values
        probe.until_in(federation.each.values())
        after = versions()
        for cluster in before:
            assert {name: after[cluster][name] for name in before[cluster]} == before[cluster]
