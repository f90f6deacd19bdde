"""What workloads need in a cluster leaves it after them."""

from __future__ import annotations

import itertools

from hanse_scheduler.placing.events import notices
from hanse_scheduler.state.standing_workloads import StandingWorkloads

from hanse.api.scheduler.v1.placement_pb2 import (
    ABORTED,
    LATE,
    MOVING,
    ClusterPlacement,
    Placement,
    PlacementMove,
)
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import CONFIG, WEB, config, deployment, policy_object
from tests.support.federation.federation import Federation
from tests.support.waiting import until

HERE = Placement(clusters=[ClusterPlacement(cluster="a")])
LEAVING = Placement(clusters=[ClusterPlacement(cluster="a", leaving=True), ClusterPlacement(cluster="b")])
THERE = Placement(clusters=[ClusterPlacement(cluster="b")])


def needed(standing: StandingWorkloads, path: str = CONFIG.path()) -> bool:
    """Whether an object of the namespace is needed in a."""
    clusters = standing.needed_by(path)
    return clusters is not None and "a" in clusters


def test_stands_until_it_has_left() -> None:
    """From a change on until the decision says that it has left; then what has waited is looked at again."""
    standing = StandingWorkloads()
    assert list(standing.update(WEB.path(), HERE)) == []
    assert not needed(standing)
    standing.undecided(WEB.path(), HERE)
    assert needed(standing)
    assert needed(standing, "core/persistentvolumes/_/disk")
    assert not needed(standing, "core/configmaps/other/settings")
    assert standing.needed_by(WEB.path()) is None
    assert list(standing.update(CONFIG.path(), LEAVING)) == []
    standing.deciding(WEB.path())
    assert list(standing.update(WEB.path(), LEAVING)) == []
    assert list(standing.decided(WEB.path(), LEAVING)) == []
    assert needed(standing)
    assert list(standing.update(WEB.path(), THERE)) == [CONFIG.path()]
    assert not needed(standing)


def test_what_changes_while_it_is_decided_on_is_undecided() -> None:
    """A decision that was made on what was known before does not let anything go."""
    standing = StandingWorkloads()
    standing.undecided(WEB.path(), HERE)
    standing.deciding(WEB.path())
    standing.undecided(WEB.path(), HERE)
    assert list(standing.decided(WEB.path(), HERE)) == []
    assert needed(standing)
    standing.forget_undecided()
    assert not needed(standing)


async def test_a_config_map_that_is_everywhere_leaves_last(federation: Federation) -> None:
    """Both are in a and b, and a policy lets them leave a: the ConfigMap goes after the Deployment."""
    await federation.clusters("a", "b")
    await federation.start_scheduler()
    await federation.apply(WEB, deployment(4))
    await federation.apply(CONFIG, config())
    await federation.placed(WEB, {"a": 2, "b": 2})
    await federation.placed(CONFIG, {"a": None, "b": None})
    await federation.ready(CONFIG, "b")
    policy = ObjectKey("hanse.dev", "clusterplacementpolicies", "", "p")
    await federation.apply(policy, policy_object(clusterNames=["b"]))
    await federation.placed(WEB, {"a": 2, "b": 4})

    async def kept() -> bool:
        placement = await federation.placement(CONFIG)
        return placement is not None and any(entry.leaving for entry in placement.clusters)

    await until(kept)
    await federation.ready(WEB, "b", 4)
    await federation.placed(WEB, {"b": 4})
    await federation.placed(CONFIG, {"b": None})


def test_events_say_how_far_a_move_is() -> None:
    """Once each: it begins, is late, is given up, is over."""
    moving = Placement(clusters=LEAVING.clusters, move=PlacementMove(phase=MOVING, message="m"))
    late = Placement(clusters=LEAVING.clusters, move=PlacementMove(phase=LATE, message="m"))
    aborted = Placement(clusters=LEAVING.clusters, move=PlacementMove(phase=ABORTED, message="m"))
    history = [HERE, moving, moving, late, late, aborted, aborted, THERE]
    said = [
        notice.reason for before, after in itertools.pairwise(history) for notice in notices(before, after)
    ]
    assert said == ["MoveStarted", "MoveLate", "MoveAborted", "MoveEnded"]
