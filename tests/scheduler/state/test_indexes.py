"""The scheduler's indexes: whatever happens in whatever order, they say what is there, and forget what is
not."""

from __future__ import annotations

from collections import Counter

from hanse_scheduler.state.object_index import ObjectIndex
from hanse_scheduler.state.placement_index import PlacementIndex, StoredPlacement
from hanse_scheduler.state.records import ObjectRecord
from hanse_scheduler.state.unplaced import UnplacedReplicas
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.federation.placements import named_clusters
from hanse.paths import namespace_of

PATHS = (
    "core/configmaps/shop/a",
    "core/configmaps/shop/b",
    "core/configmaps/other/c",
    "core/namespaces/_/shop",
)
CLUSTERS = st.frozensets(st.sampled_from(["x", "y", "z"]))
PLACEMENTS = st.none() | st.builds(
    lambda placed, releasing: Placement(
        clusters=[ClusterPlacement(cluster=name) for name in sorted(placed)],
        releasing=[ClusterRelease(cluster=name) for name in sorted(releasing - placed)],
    ),
    CLUSTERS,
    CLUSTERS,
)
WEB = "apps/deployments/shop/web"


def record(kind: str = "ConfigMap", *, replicas: int = 0, propagates: bool = True) -> ObjectRecord:
    """What is kept of an object."""
    return ObjectRecord(reduced={"kind": kind, "spec": {"replicas": replicas}}, propagates=propagates)


@given(st.lists(st.tuples(st.sampled_from(PATHS), PLACEMENTS), max_size=12))
def test_placements_by_cluster_and_namespace(changes: list[tuple[str, Placement | None]]) -> None:
    """As computed from all placements at once; a namespace crosses when its set of clusters changes."""
    index = PlacementIndex()
    known: dict[str, Placement] = {}

    def contents(namespace: str) -> frozenset[str]:
        found = Counter(
            name
            for path, each in known.items()
            if namespace_of(path) == namespace
            for name in named_clusters(each)
        )
        return frozenset(found)

    for revision, (path, placement) in enumerate(changes, start=1):
        namespace = namespace_of(path)
        before = contents(namespace) if namespace else frozenset()
        if placement is None:
            known.pop(path, None)
        else:
            known[path] = placement
        crossed = index.set(path, StoredPlacement(placement, revision) if placement is not None else None)
        after = contents(namespace) if namespace else frozenset()
        assert crossed is (before != after)
        assert set(index) == known.keys()
        for cluster in ("x", "y", "z"):
            naming = {path for path, each in known.items() if cluster in named_clusters(each)}
            assert set(index.naming(cluster)) == naming
        for each in ("shop", "other"):
            assert index.contents(each) == contents(each)
    for path in PATHS:
        index.set(path, None)
    assert not any(vars(index).values())


def test_of_two_versions_the_newer_counts() -> None:
    """What this process wrote may be followed later, or have been overtaken; a deletion of nothing is no
    news."""
    index = PlacementIndex()
    assert index.is_news("a/b/c/d", 5, deleted=False)
    assert not index.is_news("a/b/c/d", 5, deleted=True)
    index.set("a/b/c/d", StoredPlacement(Placement(), 5))
    for revision, news in ((4, False), (5, False), (6, True)):
        assert index.is_news("a/b/c/d", revision, deleted=False) is news
        assert index.is_news("a/b/c/d", revision, deleted=True) is news


def test_what_this_process_writes_is_known_as_such() -> None:
    """Only while it writes, whatever ends that."""
    index = PlacementIndex()
    try:
        with index.writing("a/b/c/d"):
            assert index.is_writing("a/b/c/d")
            assert not index.is_writing("a/b/c/e")
            raise KeyError
    except KeyError:
        pass
    assert not index.is_writing("a/b/c/d")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["core/configmaps/shop/a", "example.com/widgets/shop/a", WEB]),
            st.none() | st.sampled_from(["ConfigMap", "Widget", "Gadget"]),
        ),
        max_size=12,
    )
)
def test_objects_by_kind_and_resource(changes: list[tuple[str, str | None]]) -> None:
    """An object that changes its kind is of the new one only; what is gone is nowhere."""
    index = ObjectIndex()
    known: dict[str, str] = {}
    for path, kind in changes:
        if kind is None:
            known.pop(path, None)
        else:
            known[path] = kind
        index.set(path, record(kind) if kind is not None else None)
        assert set(index) == known.keys()
        for group in ("", "example.com", "apps"):
            for each in ("ConfigMap", "Widget", "Gadget"):
                expected = {
                    path
                    for path, kind in known.items()
                    if kind == each and path.startswith(f"{group or 'core'}/")
                }
                assert set(index.of_kind(group, each)) == expected
        assert {path for _, paths in index.by_resource() for path in paths} == known.keys()
    for path in list(known):
        index.set(path, None)
    assert not any(vars(index).values())


@given(
    st.lists(
        st.tuples(
            st.sampled_from([WEB, "apps/deployments/shop/api", "core/configmaps/shop/a"]),
            st.none() | st.integers(0, 9),
            st.none() | st.integers(0, 9),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_unplaced_replicas_add_up(changes: list[tuple[str, int | None, int | None, bool]]) -> None:
    """The total is that of all objects as they are now; what does not propagate asks for nothing."""
    unplaced = UnplacedReplicas()
    missing: dict[str, int] = {}
    for path, wanted, placed, propagates in changes:
        placement = None if placed is None else Placement(unplaced_replicas=max(0, (wanted or 0) - placed))
        found = None if wanted is None else record("Deployment", replicas=wanted, propagates=propagates)
        unplaced.update(path, found, placement)
        counts = path.startswith("apps/") and wanted is not None and propagates
        missing[path] = max(0, (wanted or 0) - (placed or 0)) if counts else 0
        assert unplaced.total == sum(missing.values())
