"""Changes of a cluster that take much away, as a user sees them: refused, whichever way they are made."""

from __future__ import annotations

import pytest

from tests.system.harness import Federation, until
from tests.system.manifests import deployment, placement_policy

CLUSTER = "eu-west"
SAID = "removed=2,moved=0"


@pytest.fixture
def running(federation: Federation, ns: str) -> str:
    """A Deployment of two that may run in one cluster only; its path."""
    federation.apply(
        placement_policy(ns, "web", api_version="apps/v1", kind="Deployment", clusterNames=[CLUSTER]),
        deployment(ns, "web", 2),
    )

    def runs() -> bool:
        found = federation.member(CLUSTER).find("deployments.apps", ns, "web")
        return found is not None and found.get("status", {}).get("readyReplicas") == 2

    until(runs, what=f"{CLUSTER} to run the Deployment")
    return f"apps/deployments/{ns}/web would run nowhere"


@pytest.mark.parametrize(
    "words",
    [
        ["hanse", "drain", CLUSTER, "--no-wait"],
        ["hanse", "unjoin", CLUSTER, "--no-wait"],
        ["kubectl", "delete", "cluster", CLUSTER, "--wait=false"],
        [
            "kubectl",
            "patch",
            "cluster",
            CLUSTER,
            "--type=merge",
            "-p",
            '{"spec": {"taints": [{"key": "down", "effect": "NoExecute"}]}}',
        ],
    ],
    ids=lambda words: f"{words[0]}-{words[1]}",
)
def test_a_cluster_that_runs_the_last_replicas_is_kept(
    federation: Federation, running: str, words: list[str]
) -> None:
    """By hanse and by kubectl in the same words, with what confirms it; nothing changes."""
    before = federation.api.get("clusters.hanse.dev", "", CLUSTER)["metadata"]["resourceVersion"]
    done = federation.run(words, check=False)
    assert done.status != 0
    assert running in done.err
    assert f"hanse.dev/confirm-impact: {SAID}" in done.err
    assert f"--confirm-impact {SAID}" in done.err
    assert "Traceback" not in done.err
    after = federation.api.get("clusters.hanse.dev", "", CLUSTER)["metadata"]
    assert "deletionTimestamp" not in after
    assert after["resourceVersion"] == before


def test_what_is_meant_is_done(federation: Federation, ns: str, running: str) -> None:
    """With the numbers, every time that they are given; too small ones confirm nothing."""
    assert running
    for _ in range(2):
        small = federation.run(
            ["hanse", "drain", CLUSTER, "--no-wait", "--confirm-impact", "removed=1,moved=0"], check=False
        )
        assert small.status != 0
        said = federation.hanse("drain", CLUSTER, "--no-wait", "--confirm-impact", SAID)
        try:
            assert f"cluster {CLUSTER} is being drained" in said
        finally:
            federation.hanse("drain", CLUSTER, "--undo")
        federation.kubectl("rollout", "status", "deploy/web", "-n", ns, "--timeout=60s")
