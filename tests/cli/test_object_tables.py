"""The columns of `hanse get` are those of a kind, not of whatever has its name."""

from __future__ import annotations

import pytest
from hanse_cli.commands import objects
from hanse_cli.commands.live import live_words
from hanse_cli.commands.objects import object_table

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.api.syncer.v1.sync_state_pb2 import HEALTHY, SyncState
from hanse.federation.kinds import KINDS
from hanse.kube.kinds.builtin import KUBERNETES

SERVED = {kind.group_kind for kind in (*KUBERNETES, *KINDS)}


@pytest.mark.parametrize("kind", list(objects._COLUMNS), ids=".".join)
def test_a_kind_has_its_own_columns(kind: tuple[str, str]) -> None:
    """The kind is one that is served; one of another group with its name is shown by its name alone."""
    assert kind in SERVED
    group, name = kind
    own = {"apiVersion": f"{group}/v1" if group else "v1", "kind": name, "metadata": {"name": "a"}}
    header, rows = object_table([own], with_namespace=False)
    assert len(header) > len(["NAME", "AGE"])
    assert rows[0][0] == "a"
    foreign = own | {"apiVersion": "example.com/v1"}
    assert object_table([foreign], with_namespace=False)[0] == ["NAME", "AGE"]


def test_a_custom_job_is_not_said_to_be_complete() -> None:
    """The words of Jobs are for Kubernetes' Jobs."""
    state = SyncState(
        health=HEALTHY, status=b'{"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}'
    )
    placed = ClusterPlacement(cluster="a")
    job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"completions": 1}}
    assert live_words(state, manifest=job, placed=placed) == ["complete", "1/1 succeeded"]
    custom = job | {"apiVersion": "example.com/v1"}
    assert live_words(state, manifest=custom, placed=placed) == ["healthy"]
