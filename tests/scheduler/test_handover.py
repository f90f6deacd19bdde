"""The rule of each step of a move: no gap, within the surge, and to the end if the new replicas get ready."""

from __future__ import annotations

from dataclasses import replace

from hanse_scheduler.handshake.handover import ClusterCount, next_step
from hanse_scheduler.handshake.moves import Destination, MoveRequest, MoveRules, arrived, plan_move
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import (
    ABORTED,
    LATE,
    MOVING,
    ClusterPlacement,
    Placement,
    PlacementMove,
)

NAMES = ("a", "b", "c", "d")
COUNTS = st.integers(0, 8)


class Movement:
    """Clusters whose replicas become ready when the test says so, and that have what each step gives them."""

    def __init__(self, has: dict[str, int], running: dict[str, int]) -> None:
        self.has = dict(has)
        self.running = {name: min(running[name], has[name]) for name in has}
        self.targets: dict[str, int] = {}
        self.bases: dict[str, int] = {}
        self.known: set[str] = set(has)

    @property
    def ready(self) -> int:
        """How many replicas are ready in all clusters."""
        return sum(self.running.values())

    def aim(self, targets: dict[str, int]) -> None:
        """Give the clusters what they shall have in the end."""
        self.targets = dict(targets)

    def counts(self) -> list[ClusterCount]:
        """Return what the scheduler knows."""
        found = []
        for name in NAMES:
            has, target = self.has.get(name, 0), self.targets.get(name, 0)
            base = self.bases.get(name, 0 if name not in self.has else None)
            if target > has:
                base = has if base is None else min(base, has)
            found.append(
                ClusterCount(
                    cluster=name,
                    has=has,
                    target=target,
                    base=base if base is not None and base < target else None,
                    ready=self.running.get(name, 0) if name in self.known else None,
                )
            )
        return found

    def step(self, *, wanted: int, surge: int) -> bool:
        """Take the next step; return whether the move is over."""
        before = self.counts()
        step = next_step(before, wanted=wanted, surge=surge)
        self.bases = {each.cluster: each.base for each in before if each.base is not None}
        for name, count in step.counts.items():
            self.has[name] = count
            self.running[name] = min(self.running.get(name, 0), count)  # those that are not ready go first
        if step.over:
            self.bases = {}
        return step.over

    def start(self, name: str) -> bool:
        """Let one more replica of a cluster get ready; return whether there was one."""
        if self.running.get(name, 0) >= self.has.get(name, 0):
            return False
        self.running[name] = self.running.get(name, 0) + 1
        return True


def of_all(values: st.SearchStrategy[int]) -> st.SearchStrategy[dict[str, int]]:
    return st.fixed_dictionaries(dict.fromkeys(NAMES, values))


@given(
    has=of_all(COUNTS),
    running=of_all(COUNTS),
    aims=st.lists(of_all(COUNTS), min_size=1, max_size=3),
    surge=st.integers(1, 10),
    data=st.data(),
)
def test_no_step_leaves_a_gap(
    has: dict[str, int], running: dict[str, int], aims: list[dict[str, int]], surge: int, data: st.DataObject
) -> None:
    """Never fewer are ready than are wanted, or were ready before (but for those that fail in a cluster that
    nothing moves to); never more are placed than the surge allows, or were before; whatever gets ready when,
    and however often the aim changes on the way."""
    move = Movement(has, running)
    for targets in aims:
        move.aim(targets)
        wanted = sum(targets.values())
        for _ in range(data.draw(st.integers(0, 12))):
            ready, placed = move.ready, sum(move.has.values())
            failing = sum(
                each.counts - min(each.counts, move.running.get(each.cluster, 0)) for each in move.counts()
            )
            move.step(wanted=wanted, surge=surge)
            assert move.ready >= min(wanted - failing, ready)
            assert sum(move.has.values()) <= max(wanted + surge, placed)
            move.start(data.draw(st.sampled_from(NAMES)))
            move.known = set(data.draw(st.sets(st.sampled_from(NAMES))))


@given(has=of_all(COUNTS), running=of_all(COUNTS), targets=of_all(COUNTS), surge=st.integers(1, 10))
def test_every_move_ends_if_the_new_ones_get_ready(
    has: dict[str, int], running: dict[str, int], targets: dict[str, int], surge: int
) -> None:
    """With all that was added ready after each step, the clusters have what they shall have."""
    move = Movement(has, running)
    move.aim(targets)
    for _ in range(100):
        if move.step(wanted=sum(targets.values()), surge=surge):
            break
        for name in NAMES:
            while move.start(name):
                pass
    assert move.has == targets


@given(has=of_all(COUNTS), targets=of_all(COUNTS), surge=st.integers(1, 10))
def test_unknown_is_not_ready(has: dict[str, int], targets: dict[str, int], surge: int) -> None:
    """Where nothing is known of the new clusters, no old replica goes that anybody misses."""
    move = Movement(has, has)
    move.known = set()
    move.aim(targets)
    wanted = sum(targets.values())
    for _ in range(20):
        move.step(wanted=wanted, surge=surge)
    kept = sum(min(move.has[name], has[name]) for name in NAMES)
    assert kept >= min(wanted, sum(has.values()))


def test_old_replicas_go_one_by_one() -> None:
    """Four move from a to b: as many go as are ready."""
    old = ClusterCount(cluster="a", has=4, target=0, ready=4)
    new = ClusterCount(cluster="b", has=4, target=4, base=0, ready=0)
    for ready in range(5):
        step = next_step([old, replace(new, ready=ready)], wanted=4, surge=4)
        assert step.counts == {"a": 4 - ready, "b": 4}
        assert step.over is (ready == 4)


def test_surge_is_a_budget_for_all_clusters() -> None:
    """With a surge of one, one replica is added at a time."""
    old = ClusterCount(cluster="a", has=4, target=0)
    fresh = [ClusterCount(cluster=name, has=0, target=2, base=0) for name in ("b", "c")]
    assert next_step([old, *fresh], wanted=4, surge=1).counts == {"a": 4, "b": 1, "c": 0}


def test_what_cannot_run_is_not_kept() -> None:
    """Pods that an old cluster cannot schedule go at once, and those that are ready stay longest."""
    full = ClusterCount(cluster="a", has=3, target=0, stuck=2)
    sound = ClusterCount(cluster="b", has=3, target=0, ready=3)
    new = ClusterCount(cluster="c", has=6, target=6, base=0, ready=3)
    assert next_step([full, sound, new], wanted=6, surge=6).counts == {"a": 0, "b": 3, "c": 6}


def test_scaled_down_on_the_way() -> None:
    """Fewer are wanted: what is not ready goes first, wherever it is."""
    old = ClusterCount(cluster="a", has=4, target=0, ready=4)
    new = ClusterCount(cluster="b", has=4, target=2, base=0, ready=0)
    assert next_step([old, new], wanted=2, surge=2).counts == {"a": 2, "b": 2}


OVERRIDES = st.sampled_from([b"", b"[]"])


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    """Draw what is in force of an object that is not divided, in the middle of a move or not."""
    entries = []
    for name in sorted(draw(st.sets(st.sampled_from(NAMES)))):
        entry = ClusterPlacement(
            cluster=name,
            suspended=draw(st.booleans()),
            leaving=draw(st.booleans()),
            overrides=draw(OVERRIDES),
        )
        if draw(st.booleans()):
            entry.base_replicas = draw(st.integers(0, 1))
        entries.append(entry)
    move = None
    if draw(st.booleans()):
        move = PlacementMove(phase=draw(st.sampled_from([MOVING, LATE, ABORTED])), aim="of something else")
    return Placement(clusters=entries, move=move)


@given(
    before=st.none() | placements(),
    destinations=st.dictionaries(
        st.sampled_from(NAMES),
        st.builds(
            Destination,
            replicas=st.none(),
            ready=st.none() | st.integers(0, 1),
            overrides=OVERRIDES,
        ),
    ),
    least=st.integers(0, 1),
    retry=st.booleans(),
)
def test_what_is_not_divided_and_leaves_no_cluster_is_there_at_once(
    before: Placement | None, destinations: dict[str, Destination], least: int, retry: bool
) -> None:
    """Whatever was known of a move: so `arrived` says the same without looking."""
    request = MoveRequest(
        before=before, destinations=destinations, origins={}, divided=False, least=least, retry=retry
    )
    assert plan_move(request, rules=MoveRules(), now=1000.0) == arrived(destinations)
