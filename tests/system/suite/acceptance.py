"""The main job as a new user does it, line by line; see `tests.system.script`.

Owns what each line must show. A walk is one user at one shell: the lines depend on each other, so they are
one test, whose failure names the line.

Next: `tests.system.test_acceptance`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.system import script
from tests.system.harness import NAMES, Done, Federation, Witness, until_passes
from tests.system.suite.base import has

LOST = "us-east"
RESOURCES = ("deployments.apps", "services", "configmaps", "secrets")
TOTALS = {"web": 6, "api": 4, "reports": 2}
CLOUD = ("eu-west", "us-east")


def run_line(federation: Federation, line: str) -> Done:
    """Run one line as it stands in a shell, but for the name server's port and the data directory."""
    port = federation.endpoint("dns", "dns").rpartition(":")[2] if "<port>" in line else ""
    return federation.run(["bash", "-euo", "pipefail", "-c", line.replace("<port>", port)])


class Walk:
    """One user at one shell."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation

    def line(self, line: str) -> None:
        """Run a line and check what it shows."""
        done = run_line(self.federation, line)
        with naming(line):
            self.checks[line](done)

    @property
    def checks(self) -> dict[str, Callable[[Done], None]]:
        """What each line must show."""
        return {
            script.GET_CLUSTERS: self.clusters_are_ready,
            script.APPLY: self.all_is_applied,
            script.GET_ALL: self.all_is_listed,
            script.ROLLOUT: self.it_is_rolled_out,
            script.MEMBER_VIEW: self.the_member_has_its_part,
            script.EXPLAIN: self.every_cluster_is_explained,
            script.DIG: self.the_name_is_the_members_address,
        }

    def clusters_are_ready(self, done: Done) -> None:
        """Each cluster is listed, and is ready."""
        rows = {line.split()[0]: line for line in done.out.splitlines()[1:]}
        assert rows.keys() == set(NAMES)
        assert all(line.split()[1] == "True" for line in rows.values())

    def all_is_applied(self, done: Done) -> None:
        """kubectl is content with every object."""
        for kind in ("namespace/shop", "configmap/shop", "secret/payment", "deployment.apps/web"):
            assert kind in done.out

    def all_is_listed(self, done: Done) -> None:
        """All kinds are in one answer."""
        for name in ("deployment.apps/web", "deployment.apps/reports", "service/web", "configmap/shop"):
            assert name in done.out

    def it_is_rolled_out(self, done: Done) -> None:
        """The rollout ends with success; then the members' parts make up the whole."""
        assert "successfully rolled out" in done.out
        until_passes(lambda: self.parts_make_the_whole(NAMES), what="replicas are divided", seconds=60)
        until_passes(self.everything_is_placed, what="everything is in its clusters", seconds=60)
        status = self.federation.api.get("deployments.apps", "shop", "web")["status"]
        assert status["readyReplicas"] == TOTALS["web"]

    def the_member_has_its_part(self, done: Done) -> None:
        """The member shows its own Deployment and running pods."""
        assert "deployment.apps/web" in done.out
        assert "Running" in done.out

    def every_cluster_is_explained(self, done: Done) -> None:
        """Each cluster has a line."""
        assert all(name in done.out for name in NAMES)

    def the_name_is_the_members_address(self, done: Done) -> None:
        """dig gives the region's own address; the world's name gives all."""
        until_passes(lambda: self.names_are_right(NAMES), what="the names are right", seconds=30)
        assert "NOERROR" in done.out or done.out.strip()

    def parts_make_the_whole(self, alive: tuple[str, ...]) -> None:
        """Over the clusters that are alive the replicas sum up to what was asked for, and all are ready."""
        for name, total in TOTALS.items():
            parts: dict[str, int] = {}
            for cluster in alive:
                obj = self.federation.member(cluster).find("deployments.apps", "shop", name)
                if obj is not None:
                    parts[cluster] = obj["spec"]["replicas"]
                    assert obj.get("status", {}).get("readyReplicas", 0) == parts[cluster], f"{name}: {parts}"
            assert sum(parts.values()) == total, f"{name}: {parts}"
            if name == "reports":
                assert "on-prem" not in parts

    def everything_is_placed(self) -> None:
        """Objects are where their placement says, and nowhere else."""
        for resource, name in (("configmaps", "shop"), ("secrets", "payment"), ("services", "web")):
            assert has(self.federation, resource, "shop", name) == set(NAMES)
        assert has(self.federation, "deployments.apps", "shop", "reports") == set(CLOUD)

    def address(self, cluster: str) -> str:
        """The address of the Service web in a member."""
        obj = self.federation.member(cluster).get("services", "shop", "web")
        return str(obj["status"]["loadBalancer"]["ingress"][0]["ip"])

    def names_are_right(self, serving: tuple[str, ...], addresses: dict[str, str] | None = None) -> None:
        """Zone, region and world give the nearest addresses of the clusters that serve."""
        own = addresses or {cluster: self.address(cluster) for cluster in serving}
        world = {own[cluster] for cluster in serving}
        root = "web.shop.hanse.svc"
        assert self.federation.dig(f"{root}.example.org") == world
        for cluster in NAMES:
            nearest = {own[cluster]} if cluster in serving else world
            assert self.federation.dig(f"{root}.{cluster}.example.org") == nearest, cluster
            assert self.federation.dig(f"{root}.a.{cluster}.example.org") == nearest, cluster

    def serving(self, alive: tuple[str, ...]) -> tuple[str, ...]:
        """The clusters where pods of web are ready."""
        found = []
        for cluster in alive:
            obj = self.federation.member(cluster).get("deployments.apps", "shop", "web")
            if obj.get("status", {}).get("readyReplicas"):
                found.append(cluster)
        return tuple(found)

    def snapshot(self) -> dict[str, tuple[str, str]]:
        """uid and resourceVersion of what a member has of the shop, but for what counts replicas."""
        api = self.federation.member(LOST)
        return {
            f"{resource}/{item['metadata']['name']}": (
                item["metadata"]["uid"],
                item["metadata"]["resourceVersion"],
            )
            for resource in ("services", "configmaps", "secrets")
            for item in api.list(resource, "shop")
        }

    def lose_and_return(self) -> None:
        """`hanse sim stop us-east` and `hanse sim start us-east`."""
        federation = self.federation
        others = tuple(name for name in NAMES if name != LOST)
        addresses = {name: self.address(name) for name in NAMES}
        before = self.snapshot()
        uid = federation.member(LOST).get("deployments.apps", "shop", "web")["metadata"]["uid"]
        witnesses = {name: federation.member(name) for name in others}
        with Witness(witnesses, namespace="shop", resources=RESOURCES) as witness:
            with naming(script.LOSE):
                self._lose()
                until_passes(
                    lambda: self.parts_make_the_whole(others), what="its replicas run elsewhere", seconds=60
                )
                until_passes(
                    lambda: self.names_are_right(others, addresses), what="the names follow", seconds=30
                )
                assert "us-east" in federation.hanse("explain", "deploy/web", "-n", "shop")
                for resource, name in (("deployments.apps", "web"), ("configmaps", "shop")):
                    assert federation.api.get(resource, "shop", name)
            with naming(script.RETURN):
                self._restore()
                until_passes(
                    lambda: self.parts_make_the_whole(NAMES), what="replicas are divided", seconds=60
                )
                until_passes(
                    lambda: self.names_are_right(self.serving(NAMES), addresses),
                    what="the names follow",
                    seconds=30,
                )
        assert witness.deleted == []
        assert self.snapshot() == before
        assert federation.member(LOST).get("deployments.apps", "shop", "web")["metadata"]["uid"] == uid
        copies = federation.member(LOST).names("deployments.apps", "shop")
        assert copies == set(TOTALS)

    def _lose(self) -> None:
        self.federation.members.lose(self.federation, LOST)

    def _restore(self) -> None:
        self.federation.members.restore(self.federation, LOST)


@contextmanager
def naming(line: str) -> Iterator[None]:
    """Let a failure name the line of the script."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"after `{line}`: {error}") from error


LINES = (
    script.GET_CLUSTERS,
    script.APPLY,
    script.GET_ALL,
    script.ROLLOUT,
    script.MEMBER_VIEW,
    script.EXPLAIN,
    script.DIG,
)


class AcceptanceSuite:
    """The first page."""

    def test_the_first_page(self, federation: Federation) -> None:
        """Every line shows what it should; a cluster is lost and returns; nothing is deleted or rewritten."""
        walk = Walk(federation)
        for line in LINES:
            walk.line(line)
        walk.lose_and_return()
        intent = json.loads(federation.kubectl("get", "deploy", "web", "-n", "shop", "-o", "json").out)
        assert intent["spec"]["replicas"] == TOTALS["web"]
