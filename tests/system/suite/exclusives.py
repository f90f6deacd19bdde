"""What must not run twice is never in two clusters at the same time, whatever moves it.

A CronJob, a Deployment that is marked by its label, and a StatefulSet whose policy says so. The members'
own histories are the witness.

Next: `membership`.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.system.harness import NAMES, Federation, Json, until, until_passes
from tests.system.harness.onlookers import Onlookers
from tests.system.manifests import deployment, metadata, pod_template, workload
from tests.system.suite.base import has, replicas
from tests.system.suite.membership import NAME, join_again

CRON_JOBS, DEPLOYMENTS, STATEFUL_SETS = "cronjobs.batch", "deployments.apps", "statefulsets.apps"
OBJECTS = {CRON_JOBS: "nightly", DEPLOYMENTS: "leader", STATEFUL_SETS: "db"}
PODS = {DEPLOYMENTS: 1, STATEFUL_SETS: 2}
WATCHED = (*OBJECTS, "pods")


def cron_job(ns: str, name: str) -> Json:
    """A CronJob that runs each minute."""
    template = pod_template(name, restartPolicy="Never")
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(name, ns, app=name),
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}},
    }


def marked(ns: str, name: str) -> Json:
    """A Deployment that says of itself that it must run at most once."""
    found = deployment(ns, name, PODS[DEPLOYMENTS])
    found["metadata"]["labels"]["hanse.dev/at-most-one"] = "true"
    return found


def policies(ns: str, *clusters: str) -> list[Json]:
    """Where the objects may be."""

    def policy(name: str, kinds: list[tuple[str, str]], **more: object) -> Json:
        selectors = [{"apiVersion": version, "kind": kind} for version, kind in kinds]
        return {
            "apiVersion": "hanse.dev/v1alpha1",
            "kind": "PlacementPolicy",
            "metadata": metadata(name, ns),
            "spec": {"resourceSelectors": selectors, "clusterNames": list(clusters), **more},
        }

    deployments = policy("plain", [("batch/v1", "CronJob"), ("apps/v1", "Deployment")])
    return [deployments, policy("marked", [("apps/v1", "StatefulSet")], atMostOne=True)]


def homes(federation: Federation, ns: str) -> set[str]:
    """The members that have any of the objects."""
    found: set[str] = set()
    for resource, name in OBJECTS.items():
        found |= has(federation, resource, ns, name)
    return found


def watched(federation: Federation, ns: str) -> Onlookers:
    """Have it seen whether one of the objects, or a Pod of it, is in two members at once."""
    apps = OBJECTS.values()
    return Onlookers(federation.each, namespace=ns, resources=WATCHED, apps=tuple(apps))


def explained(federation: Federation, ns: str) -> str:
    """Why each of the objects is where it is."""
    return "\n".join(
        federation.hanse("explain", f"{resource}/{name}", "-n", ns) for resource, name in OBJECTS.items()
    )


def until_at_home(federation: Federation, ns: str, *, not_in: str = "") -> None:
    """Wait until each of the objects runs in one member, with all its Pods, and none in `not_in`."""

    def check() -> None:
        for resource, name in OBJECTS.items():
            places = has(federation, resource, ns, name)
            assert len(places) == 1
            assert not_in not in places
            found = federation.member(*places).get(resource, ns, name)
            assert not found["metadata"].get("deletionTimestamp")
            if resource in PODS:
                assert found.get("status", {}).get("readyReplicas") == PODS[resource]

    until_passes(check, what="each object runs in one cluster")


class ExclusiveSuite:
    """Moves of what must not run twice."""

    def _moved(self, federation: Federation, ns: str, move: Callable[[], None], *, old: str) -> Onlookers:
        """Start in `old`, move away, and have it seen that nothing was in two clusters."""
        stateful = workload("StatefulSet", ns, "db", replicas=PODS[STATEFUL_SETS], serviceName="db")
        federation.apply(*policies(ns, old), cron_job(ns, "nightly"), marked(ns, "leader"), stateful)
        until_at_home(federation, ns)
        assert homes(federation, ns) == {old}
        with watched(federation, ns) as onlookers:
            move()
            try:
                until_at_home(federation, ns, not_in=old)
            except AssertionError as error:
                error.add_note(explained(federation, ns))
                raise
        assert not onlookers.overlaps
        for resource, name in OBJECTS.items():
            seen = onlookers.homes(resource, name)
            assert old in seen
            assert len(seen) == 2, f"{resource} {name} was in {seen}"
        return onlookers

    def test_a_policy_moves_it(self, federation: Federation, ns: str) -> None:
        """It stops in the old cluster, and then begins in the new one."""
        self._moved(federation, ns, lambda: _apply(federation, ns, "on-prem"), old="eu-west")
        assert homes(federation, ns) == {"on-prem"}

    def test_a_drain_moves_it(self, federation: Federation, ns: str) -> None:
        """And the end of the drain does not move it back."""

        def drain() -> None:
            _apply(federation, ns, *NAMES)
            federation.hanse("drain", "eu-west")

        try:
            self._moved(federation, ns, drain, old="eu-west")
        finally:
            federation.hanse("drain", "eu-west", "--undo")

    def test_a_taint_moves_it(self, federation: Federation, ns: str) -> None:
        """One with NoExecute, set by kubectl."""

        def taint() -> None:
            _apply(federation, ns, *NAMES)
            _taint(federation, "eu-west", [{"key": "repair", "value": "disk", "effect": "NoExecute"}])

        try:
            self._moved(federation, ns, taint, old="eu-west")
        finally:
            _taint(federation, "eu-west", [])

    def test_a_lost_cluster_keeps_it(self, federation: Federation, ns: str) -> None:
        """For longer than the toleration: of what does not answer nobody knows that it has stopped."""
        stateful = workload("StatefulSet", ns, "db", replicas=PODS[STATEFUL_SETS], serviceName="db")
        federation.apply(*policies(ns, "on-prem"), cron_job(ns, "nightly"), marked(ns, "leader"), stateful)
        until_at_home(federation, ns)
        federation.apply(*policies(ns, *NAMES), deployment(ns, "canary", 6))
        until(lambda: len(replicas(federation, DEPLOYMENTS, ns, "canary")) == 3, what="canary is everywhere")
        member = federation.member("on-prem")
        uids = {kind: member.get(kind, ns, name)["metadata"]["uid"] for kind, name in OBJECTS.items()}
        others = [name for name in NAMES if name != "on-prem"]
        with watched(federation, ns) as onlookers:
            federation.members.lose(federation, "on-prem")
            try:
                until(lambda: _canaries(federation, ns, others) == 6, what="canary runs elsewhere")
                for kind, name in OBJECTS.items():
                    assert not any(federation.member(other).find(kind, ns, name) for other in others)
            finally:
                federation.members.restore(federation, "on-prem")
            until_at_home(federation, ns)
        assert not onlookers.overlaps
        now = {kind: member.get(kind, ns, name)["metadata"]["uid"] for kind, name in OBJECTS.items()}
        assert now == uids
        assert homes(federation, ns) == {"on-prem"}

    def test_names_exist_once_where_a_policy_asks(self, federation: Federation, ns: str) -> None:
        """A StatefulSet over three clusters with ranges of ordinals; to scale it renumbers nothing."""
        policy = policies(ns, *NAMES)[1]
        del policy["spec"]["atMostOne"]
        policy["spec"]["replicas"] = {"mode": "Divided", "ordinalsPerCluster": 10}
        federation.apply(policy, workload("StatefulSet", ns, "db", replicas=3, serviceName="db"))
        names = {f"db-{number}" for number in (0, 10, 20)}
        until(lambda: set(_pods(federation, ns)) == names, what="each cluster has a Pod of its own name")
        before = _pods(federation, ns)
        federation.api.merge(STATEFUL_SETS, ns, "db", {"spec": {"replicas": 6}})
        more = names | {f"db-{number}" for number in (1, 11, 21)}
        until(lambda: set(_pods(federation, ns)) == more, what="each cluster has one more")
        after = _pods(federation, ns)
        assert {name: after[name] for name in names} == before
        assert "ordinals 10 to 11" in federation.hanse("explain", "sts/db", "-n", ns)

    def test_it_leaves_with_its_cluster(self, federation: Federation, ns: str) -> None:
        """`hanse unjoin` waits until it has stopped; it is not moved back when the cluster joins again."""

        def unjoin() -> None:
            _apply(federation, ns, *NAMES)
            federation.hanse("unjoin", NAME)

        try:
            self._moved(federation, ns, unjoin, old=NAME)
        finally:
            if NAME not in federation.api.names("clusters.hanse.dev"):
                join_again(federation)
        assert NAME not in homes(federation, ns)


def _apply(federation: Federation, ns: str, *clusters: str) -> None:
    federation.apply(*policies(ns, *clusters))


def _taint(federation: Federation, cluster: str, taints: list[Json]) -> None:
    federation.api.merge("clusters.hanse.dev", "", cluster, {"spec": {"taints": taints}})


def _canaries(federation: Federation, ns: str, clusters: list[str]) -> int:
    found = (federation.member(name).get(DEPLOYMENTS, ns, "canary") for name in clusters)
    return sum(each["spec"]["replicas"] for each in found)


def _pods(federation: Federation, ns: str) -> dict[str, str]:
    """The uid of each Pod by its name, in all members; no name is in two of them."""
    found: dict[str, str] = {}
    for api in federation.each.values():
        for pod in api.list("pods", ns):
            assert found.setdefault(pod["metadata"]["name"], pod["metadata"]["uid"]) == pod["metadata"]["uid"]
    return found
