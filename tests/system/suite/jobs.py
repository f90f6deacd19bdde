"""Work that is done is done: no Pod of a finished Job starts again because of the federation.

Next: `membership`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.machine.freezing import freeze, thaw
from tests.system.harness import NAMES, Federation, Json, until, until_passes
from tests.system.harness.api import collection
from tests.system.manifests import config_map, deployment, job, metadata
from tests.system.suite.base import has, replicas, until_in

JOBS = "jobs.batch"


def conditions(obj: Json) -> dict[str, Json]:
    """The conditions that are True, by type."""
    found = obj.get("status", {}).get("conditions", [])
    return {each["type"]: each for each in found if each["status"] == "True"}


def one_job(ns: str, name: str, **spec: Any) -> Json:
    """A Job with one completion."""
    found = job(ns, name, completions=1)
    return {**found, "spec": {**found["spec"], "backoffLimit": 0, **spec}}


def until_complete(federation: Federation, ns: str, name: str) -> None:
    """Wait until the federation's Job is complete."""
    federation.kubectl("wait", "--for=condition=Complete", f"job/{name}", "-n", ns, "--timeout=90s")


def pods_of(federation: Federation, ns: str, name: str) -> set[str]:
    """The uids of the Job's Pods in all members that can be reached."""
    return {
        pod["metadata"]["uid"]
        for api in federation.each.values()
        for pod in api.list("pods", ns)
        if pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name") == name
        or any(owner["name"] == name for owner in pod["metadata"].get("ownerReferences", ()))
    }


def uids_of(federation: Federation, ns: str, name: str) -> dict[str, str]:
    """The uid of the Job in each member that has it."""
    found = {cluster: api.find(JOBS, ns, name) for cluster, api in federation.each.items()}
    return {cluster: each["metadata"]["uid"] for cluster, each in found.items() if each}


def all_over(federation: Federation, ns: str, name: str, *, ttl: float) -> bool:
    """Whether the Job is complete, and its time over, wherever it is."""
    found = [each for api in federation.each.values() if (each := api.find(JOBS, ns, name))]
    now = datetime.now(UTC)
    ends = [each.get("status", {}).get("completionTime") for each in found]
    return bool(ends) and all(
        end and now > datetime.fromisoformat(end) + timedelta(seconds=ttl + 1) for end in ends
    )


def until_deleted(events: Iterator[tuple[str, Json]], name: str) -> Iterator[Json]:
    """The object as each event shows it, up to the one that says that it is deleted."""
    for kind, obj in events:
        if obj["metadata"].get("name") == name:
            yield obj
            if kind == "DELETED":
                return


class JobSuite:
    """Jobs whose clusters are lost, that move, and that are cleaned up."""

    def test_a_finished_job_does_not_run_again_where_its_cluster_is_lost(
        self, federation: Federation, ns: str
    ) -> None:
        """The case job-rerun: lost for longer than the toleration, and back."""
        federation.apply(one_job(ns, "schema-upgrade"), deployment(ns, "canary", 6))
        until_complete(federation, ns, "schema-upgrade")
        (home,) = has(federation, JOBS, ns, "schema-upgrade")
        uid = federation.member(home).get(JOBS, ns, "schema-upgrade")["metadata"]["uid"]
        pods = pods_of(federation, ns, "schema-upgrade")
        until(
            lambda: len(replicas(federation, "deployments.apps", ns, "canary")) == 3, what="it is everywhere"
        )
        others = [name for name in NAMES if name != home]
        federation.members.lose(federation, home)
        try:
            until(
                lambda: (
                    sum(
                        federation.member(name).get("deployments.apps", ns, "canary")["spec"]["replicas"]
                        for name in others
                    )
                    == 6
                ),
                what="the replicas of the lost cluster run elsewhere",
            )
            for name in others:
                assert not federation.member(name).find(JOBS, ns, "schema-upgrade")
            status = federation.api.get(JOBS, ns, "schema-upgrade")
            assert "Complete" in conditions(status)
        finally:
            federation.members.restore(federation, home)
        federation.apply(config_map(ns, "after", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "after")
        assert has(federation, JOBS, ns, "schema-upgrade") == {home}
        assert federation.member(home).get(JOBS, ns, "schema-upgrade")["metadata"]["uid"] == uid
        assert pods_of(federation, ns, "schema-upgrade") == pods
        columns = federation.kubectl("get", "job", "schema-upgrade", "-n", ns, "--no-headers").out.split()
        assert columns[:3] == ["schema-upgrade", "Complete", "1/1"]

    def test_a_job_that_ended_while_nobody_looked_is_not_made_again(
        self, federation: Federation, ns: str
    ) -> None:
        """The case job-ttl: its time is over while the syncer is away. Members keep it until it was seen."""
        billing = job(ns, "billing", completions=4)
        billing["spec"] |= {"parallelism": 1, "ttlSecondsAfterFinished": 2}
        federation.apply(config_map(ns, "before", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "before")
        federation.apply(billing)
        until(lambda: pods_of(federation, ns, "billing"), what="a Pod of it runs")
        listed = federation.api.request("GET", collection(JOBS, ns))["metadata"]["resourceVersion"]
        syncer = federation.pid("syncer")
        freeze(syncer)
        try:
            until(
                lambda: all_over(federation, ns, "billing", ttl=2), what="it has ended, and its time is over"
            )
            uids = set(uids_of(federation, ns, "billing").values())
        finally:
            thaw(syncer)
        until(lambda: not federation.api.find(JOBS, ns, "billing"), what="the federation has cleaned it up")
        with federation.api.watch(collection(JOBS, ns), listed) as events:
            history = list(until_deleted(events, "billing"))
        assert any("Complete" in conditions(each) for each in history)
        assert max(each.get("status", {}).get("succeeded", 0) for each in history) == 4
        until(lambda: not has(federation, JOBS, ns, "billing"), what="it has left the members")
        federation.apply(config_map(ns, "after", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "after")
        assert not has(federation, JOBS, ns, "billing"), f"it was made again beside {uids}"

    def test_a_job_that_is_gone_unseen_is_not_made_again(self, federation: Federation, ns: str) -> None:
        """Somebody deletes it in its clusters while the syncer is away: nobody knows what it has done."""
        federation.apply(config_map(ns, "before", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "before")
        federation.apply(job(ns, "billing", completions=6))
        until(lambda: uids_of(federation, ns, "billing").keys() == set(NAMES), what="each has its part")
        syncer = federation.pid("syncer")
        freeze(syncer)
        try:
            uids = uids_of(federation, ns, "billing")
            for name in uids:
                path = collection(JOBS, ns, "billing")
                federation.member(name).request("DELETE", path, body={"propagationPolicy": "Background"})
            until(lambda: not has(federation, JOBS, ns, "billing"), what="it is gone")
        finally:
            thaw(syncer)
        until(
            lambda: "OutcomeUnknown" in conditions(federation.api.get(JOBS, ns, "billing")),
            what="the federation says that it does not know",
        )
        federation.apply(config_map(ns, "after", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "after")
        assert not has(federation, JOBS, ns, "billing"), f"it was made again beside {uids}"
        found = federation.api.get(JOBS, ns, "billing")
        assert "Complete" not in conditions(found)
        assert "whenUnknown" in conditions(found)["OutcomeUnknown"]["message"]

    def test_a_finished_job_does_not_run_where_a_policy_moves_it(
        self, federation: Federation, ns: str
    ) -> None:
        """It leaves the cluster that it must not be in, and stays complete."""
        federation.apply(one_job(ns, "once"))
        until_complete(federation, ns, "once")
        (home,) = has(federation, JOBS, ns, "once")
        federation.apply(
            {
                "apiVersion": "hanse.dev/v1alpha1",
                "kind": "PlacementPolicy",
                "metadata": {
                    **metadata("away", ns),
                    "annotations": {"hanse.dev/confirm-impact": "removed=1,moved=0"},
                },
                "spec": {
                    "resourceSelectors": [{"apiVersion": "batch/v1", "kind": "Job"}],
                    "excludeClusters": [home],
                },
            }
        )
        until(lambda: not has(federation, JOBS, ns, "once"), what="it has left its cluster")
        found = federation.api.get(JOBS, ns, "once")
        assert "Complete" in conditions(found)
        assert found["status"]["succeeded"] == 1
        federation.apply(config_map(ns, "after", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "after")
        assert not has(federation, JOBS, ns, "once")

    def test_the_federation_obeys_the_time_to_live(self, federation: Federation, ns: str) -> None:
        """A Job that is complete is deleted when its time is over, as in a cluster."""
        federation.apply(one_job(ns, "brief", ttlSecondsAfterFinished=1))

        def gone() -> None:
            assert not federation.api.find(JOBS, ns, "brief")
            assert not has(federation, JOBS, ns, "brief")

        until_passes(gone, what="the Job is deleted")

    def test_what_a_cluster_refuses_is_run_by_another(self, federation: Federation, ns: str) -> None:
        """Two of them have a Job of that name of their own: after the toleration the third one runs all."""
        federation.apply(config_map(ns, "before", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "before")
        taken = {}
        for name in NAMES[:2]:
            own = federation.member(name).create(JOBS, ns, one_job(ns, "report", suspend=True))
            taken[name] = own["metadata"]["uid"]
        federation.apply(job(ns, "report", completions=3))
        until_complete(federation, ns, "report")
        found = federation.api.get(JOBS, ns, "report")
        assert found["status"]["succeeded"] == 3
        for name, uid in taken.items():
            assert federation.member(name).get(JOBS, ns, "report")["metadata"]["uid"] == uid
        assert "Placed" not in {each["type"] for each in found["status"]["conditions"]}
