"""The order of things, and what is said of what does not get ready."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hanse_install.record import InstallationRecord, union
from hanse_install.stages import COMPONENT, failed, identity, job_digest, reasons, stages, waits_for

from hanse.errors import FailedPreconditionError
from tests.deploy.manifests import OVERLAYS, build, needs_kubectl
from tests.docs.tables import ROOT

SERVICES = ("apiserver", "registry", "scheduler", "syncer", "dns")


def deployment(name: str, *, generation: int = 2, wanted: int = 2, **status: Any) -> dict[str, Any]:
    """A Deployment as the host cluster has it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"hanse-{name}", "generation": generation, "labels": {COMPONENT: name}},
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": generation, **status},
    }


def pod(name: str, component: str, **status: Any) -> dict[str, Any]:
    """A Pod of a component."""
    return {"metadata": {"name": name, "labels": {COMPONENT: component}}, "status": status}


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_etcd_is_first_then_its_rights_then_the_apiserver_then_the_others(overlay: str) -> None:
    """What has no Pods comes before; everything is in exactly one stage."""
    manifests = build(overlay)
    found = stages(manifests)
    names = [[each["metadata"]["name"] for each in stage.manifests] for stage in found[1:]]
    assert names[:3] == [["hanse-etcd"], ["hanse-etcd-roles"], ["hanse-apiserver"]]
    assert sorted(names[3]) == ["hanse-dns", "hanse-registry", "hanse-scheduler", "hanse-syncer"]
    assert not [each for each in found[0].manifests if each["kind"] in {"Deployment", "StatefulSet", "Job"}]
    assert sum(len(stage.manifests) for stage in found) == len(manifests)


def test_the_guide_has_the_same_order() -> None:
    """The numbered list of docs/upgrades.md is that of the stages."""
    everything = [deployment(name) for name in ("etcd", "etcd-roles", *SERVICES)]
    guide = (ROOT / "docs" / "upgrades.md").read_text()
    listed = re.findall(r"^\d\. \*\*(.*?)\*\*", guide, re.MULTILINE)
    assert listed == [stage.title for stage in stages(everything)[1:]]


@needs_kubectl
def test_without_an_etcd_of_ours_its_rights_are_first() -> None:
    """Where etcd is elsewhere there is no stage for it."""
    assert [stage.title for stage in stages(build("ha", "external-etcd"))][1].startswith("the rights")


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        (deployment("dns", updatedReplicas=2, availableReplicas=2, replicas=2), ""),
        (deployment("dns", observedGeneration=1), "is not looked at yet"),
        (deployment("dns", updatedReplicas=1, availableReplicas=2), "1 of 2 up to date"),
        (deployment("dns", updatedReplicas=2, availableReplicas=1), "1 of 2 ready"),
        (
            deployment("dns", updatedReplicas=2, availableReplicas=2, replicas=3),
            "1 of the old ones still there",
        ),
        ({"kind": "Job", "metadata": {}, "spec": {}, "status": {}}, "has not ended"),
        (
            {
                "kind": "Job",
                "metadata": {},
                "spec": {},
                "status": {"conditions": [{"type": "Complete", "status": "True"}]},
            },
            "",
        ),
    ],
)
def test_what_a_workload_waits_for(workload: dict[str, Any], said: str) -> None:
    """It is there once the newest of it is available and nothing of the old is left."""
    assert waits_for({**workload, "status": {**workload["status"]}}) == said


def test_a_job_that_has_failed_is_not_waited_for() -> None:
    """It never ends otherwise."""
    condition = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "31 times"}
    job = {"kind": "Job", "metadata": {}, "spec": {}, "status": {"conditions": [condition]}}
    assert failed(job) == "BackoffLimitExceeded: 31 times"
    assert not failed(deployment("dns"))


def test_reasons_are_those_of_the_pods_that_are_waited_for() -> None:
    """An image that cannot be pulled, a crash with its status, no room; not a Pod that just starts."""
    dns, syncer = deployment("dns"), deployment("syncer", updatedReplicas=2, availableReplicas=2, replicas=2)
    pulling = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "hanse:1"'}
    crashed = {"terminated": {"exitCode": 78}}
    found = reasons(
        [dns, syncer],
        [
            pod("dns-a", "dns", containerStatuses=[{"image": "hanse:1", "state": {"waiting": pulling}}]),
            pod(
                "dns-b",
                "dns",
                containerStatuses=[
                    {
                        "image": "hanse:1",
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": crashed,
                    }
                ],
            ),
            pod(
                "dns-c",
                "dns",
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available",
                    }
                ],
            ),
            pod("dns-d", "dns", containerStatuses=[{"state": {"waiting": {"reason": "ContainerCreating"}}}]),
            pod("syncer-a", "syncer", containerStatuses=[{"state": {"waiting": pulling}}]),
        ],
        [],
    )
    assert found == [
        'dns-a: ImagePullBackOff: Back-off pulling image "hanse:1"',
        "dns-b: CrashLoopBackOff: hanse:1, it ended with status 78",
        "dns-c: Unschedulable: 0/1 nodes are available",
    ]


def test_where_pods_say_nothing_events_do() -> None:
    """A Secret that is missing is in Events alone; those of others, and those that are no warning, are
    not."""
    starting = pod(
        "hanse-dns-a", "dns", containerStatuses=[{"state": {"waiting": {"reason": "ContainerCreating"}}}]
    )

    def event(name: str, kind: str, message: str) -> dict[str, Any]:
        return {"involvedObject": {"name": name}, "type": kind, "reason": "FailedMount", "message": message}

    events = [
        event("hanse-dns-a", "Warning", 'secret "hanse-dns-tls"\n not found'),
        event("hanse-dns-a", "Normal", "pulled"),
        event("other", "Warning", "of another"),
    ]
    assert reasons([deployment("dns")], [starting], events) == [
        'hanse-dns-a: FailedMount: secret "hanse-dns-tls" not found'
    ]


def test_pods_that_are_refused_are_a_reason() -> None:
    """By a quota or by Pod security: there is no Pod then that could say it."""
    refused = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota",
    }
    assert reasons([deployment("dns", conditions=[refused])], [], []) == [
        "hanse-dns: FailedCreate: exceeded quota"
    ]


def test_a_record_is_read_as_it_was_written() -> None:
    """With all that a later run needs."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a", "namespace": "east"},
        "data": {},
    }
    record = InstallationRecord(
        federation="east",
        namespace="east",
        authority="00",
        options={"image": "hanse:1"},
        objects=union([], [manifest]),
        kept=("namespace/east",),
        jobs={"hanse-etcd-roles": "1"},
    )
    assert InstallationRecord.of(record.manifest()) == record
    assert record.makes(manifest)
    assert union(record.objects, [manifest]) == record.objects == (identity(manifest),)


@pytest.mark.parametrize("data", [None, {}, {"federation": "east", "authority": "", "options": "{"}])
def test_a_damaged_record_is_said_so(data: Any) -> None:
    """Nothing is guessed from it."""
    with pytest.raises(FailedPreconditionError, match=r"hanse-installation in namespace east .* is damaged"):
        InstallationRecord.of({"metadata": {"name": "hanse-installation", "namespace": "east"}, "data": data})


def test_a_job_is_done_again_when_it_would_do_something_else() -> None:
    """Another image or other endpoints are, other labels are not."""
    job = {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"image": "hanse:1"}}}
    assert job_digest(job) == job_digest({**job, "metadata": {}})
    assert job_digest(job) != job_digest({**job, "spec": {"template": {"image": "hanse:2"}}})
