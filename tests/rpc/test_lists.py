"""Lists, as every service answers them: filters, orders and pages of one query."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1 import cluster_pb2
from hanse.api.registry.v1.registry_service_pb2 import ListClustersRequest
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.api.syncer.v1.syncer_service_pb2 import ListSyncStatesRequest
from hanse.errors import InvalidArgumentError
from hanse.rpc.lists.ordering import MAX_FIELDS, ListOrder
from hanse.rpc.lists.pagination import PageToken, encode_page_token
from hanse.rpc.lists.query import SCAN, ListQuery
from hanse.store import KeyValue
from hanse.store.memory import MemoryStore

CLUSTER = cluster_pb2.Cluster.DESCRIPTOR
REGIONS = ("", "eu", "us")
ORDERS = (
    "",
    "region",
    "region desc",
    "unschedulable desc, region",
    "create_time",
    "create_time desc, state",
    "capacity.ready_nodes desc",
    "state desc,  region  asc",
    "name desc",
)


@st.composite
def clusters(draw: st.DrawFn) -> list[cluster_pb2.Cluster]:
    """Clusters with unique names, of which many are equal in what can be ordered by."""
    names = draw(st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=12))
    found = []
    for name in names:
        made = cluster_pb2.Cluster(
            name=f"clusters/{name}",
            region=draw(st.sampled_from(REGIONS)),
            unschedulable=draw(st.booleans()),
            state=draw(st.sampled_from([cluster_pb2.PENDING, cluster_pb2.READY])),
        )
        if draw(st.booleans()):
            made.create_time.FromNanoseconds(draw(st.integers(0, 3)) * 500_000_000)
        if draw(st.booleans()):
            made.capacity.ready_nodes = draw(st.integers(0, 2))
        found.append(made)
    return found


def pages(found: Iterable[cluster_pb2.Cluster], **asked: Any) -> list[list[cluster_pb2.Cluster]]:
    """All pages of a list of clusters."""
    items = [(each.name, each) for each in found]
    token, read = "", []
    while True:
        request = ListClustersRequest(page_token=token, **asked)
        page = ListQuery.of(request, CLUSTER).page(items, revision=7)
        assert page.revision == 7
        read.append(list(page.items))
        if not (token := page.next_page_token):
            return read


def values(cluster: cluster_pb2.Cluster, order: str) -> list[tuple[Any, bool]]:
    """What a cluster is ordered by, read by hand, and whether it descends."""
    found: list[tuple[Any, bool]] = []
    for part in filter(None, order.split(",")):
        name, *rest = part.split()
        if name == "create_time":
            value: Any = (cluster.HasField("create_time"), cluster.create_time.ToNanoseconds())
        elif name == "capacity.ready_nodes":
            value = (cluster.HasField("capacity"), cluster.capacity.ready_nodes)
        else:
            value = getattr(cluster, name)
        found.append((value, rest == ["desc"]))
    return [*found, (cluster.name, False)]


def in_order(left: cluster_pb2.Cluster, right: cluster_pb2.Cluster, order: str) -> bool:
    """Whether one comes before the other, field by field."""
    for (mine, descends), (other, _) in zip(values(left, order), values(right, order), strict=True):
        if mine != other:
            return bool((mine > other) if descends else (mine < other))
    return False


@given(clusters(), st.sampled_from(ORDERS), st.integers(1, 5))
def test_pages_have_every_item_once_and_in_order(
    found: list[cluster_pb2.Cluster], order: str, size: int
) -> None:
    """Whatever the order and the size of a page."""
    read = pages(found, order_by=order, page_size=size)
    assert all(len(page) == size for page in read[:-1])
    listed = [cluster for page in read for cluster in page]
    assert sorted(each.name for each in listed) == sorted(each.name for each in found)
    assert all(in_order(left, right, order) for left, right in pairwise(listed))


@given(clusters(), st.sampled_from(ORDERS), st.integers(1, 5))
def test_a_filter_chooses_on_every_page(found: list[cluster_pb2.Cluster], order: str, size: int) -> None:
    """No page is shorter for what was not chosen."""
    read = pages(found, order_by=order, page_size=size, filter="region = eu")
    assert all(len(page) == size for page in read[:-1])
    listed = {cluster.name for page in read for cluster in page}
    assert listed == {cluster.name for cluster in found if cluster.region == "eu"}


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ("colour", "colour.* is not a field of Cluster; its fields are .*region"),
        ("region.name", "region has no fields"),
        ("capacity", "name a field of it"),
        ("capacity.allocatable", "has no order"),
        ("zones", "has no order"),
        ("labels", "has no order"),
        ("labels.tier", "has no order"),
        ("region up", "only desc is expected, and not .*up"),
        ("region desc desc", "only desc is expected"),
        ("region,", "a field is missing"),
        ("region, region desc", "stands in it twice"),
        (",".join(["region"] * (MAX_FIELDS + 1)), "are the most"),
    ],
)
def test_what_has_no_order_is_refused_by_its_name(order: str, why: str) -> None:
    """The error names the argument, and says what can be done."""
    with pytest.raises(InvalidArgumentError, match=f"^order_by cannot be used: .*{why}") as caught:
        ListQuery.of(ListClustersRequest(order_by=order), CLUSTER)
    assert caught.value.metadata == {"field": "order_by"}


def test_bytes_have_no_order() -> None:
    """A status is JSON, which no order means anything for."""
    with pytest.raises(InvalidArgumentError, match="status has no order"):
        ListOrder.parse("status", SyncState.DESCRIPTOR)


@pytest.mark.parametrize(
    "changed", [{"order_by": "region desc"}, {"filter": "region = us"}, {"label_selector": "a"}]
)
def test_a_token_is_of_one_query(changed: dict[str, Any]) -> None:
    """AIP-158: all other arguments must stay the same, whichever they are."""
    found = [cluster_pb2.Cluster(name=name, region="eu") for name in "abc"]
    asked: dict[str, Any] = {"filter": "region = eu", "order_by": "region", "page_size": 1}
    query = ListQuery.of(ListClustersRequest(**asked), CLUSTER)
    asked["page_token"] = query.page([(c.name, c) for c in found], revision=1).next_page_token
    assert ListQuery.of(ListClustersRequest(**{**asked, "page_size": 2}), CLUSTER).start
    with pytest.raises(InvalidArgumentError, match="other arguments"):
        ListQuery.of(ListClustersRequest(**{**asked, **changed}), CLUSTER)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(), st.lists, max_leaves=5
)


@given(st.lists(JSON, max_size=3))
def test_a_forged_place_is_an_invalid_argument(place: list[Any]) -> None:
    """A token whose place is none of its order is refused, and not compared."""
    request = ListClustersRequest(order_by="create_time, region")
    scope = ListQuery.of(request, CLUSTER).scope
    request.page_token = encode_page_token(PageToken(1, "a", place), scope=scope)
    with suppress(InvalidArgumentError):
        query = ListQuery.of(request, CLUSTER)
        assert query.page([("b", cluster_pb2.Cluster(name="b"))], revision=9).revision == 1


def _state(kv: KeyValue) -> SyncState:
    return SyncState.FromString(kv.value)


async def _read(store: MemoryStore, **asked: Any) -> list[list[str]]:
    token, read = "", []
    revisions = set()
    while True:
        request = ListSyncStatesRequest(page_token=token, **asked)
        page = await ListQuery.of(request, SyncState.DESCRIPTOR).read(store, "p/", _state)
        revisions.add(page.revision)
        read.append([state.name for state in page.items])
        if not read[1:]:  # what is written between two pages does not show
            await store.put("p/0", SyncState(name="new", drift_repairs=99).SerializeToString())
            await store.delete("p/1")
        if not (token := page.next_page_token):
            assert len(revisions) == 1
            return read


@pytest.mark.parametrize("order", ["", "drift_repairs", "drift_repairs desc"])
async def test_pages_of_a_store_are_of_one_revision(order: str) -> None:
    """What is written or deleted between two pages does not show, in any order."""
    store = MemoryStore()
    for number in range(7):
        state = SyncState(name=f"s{number}", drift_repairs=number % 3)
        await store.put(f"p/{number}", state.SerializeToString())
    read = await _read(store, order_by=order, page_size=3)
    sign = {"": 0, "drift_repairs": 1, "drift_repairs desc": -1}[order]
    expected = sorted(range(7), key=lambda number: (sign * (number % 3), number))
    assert [name for page in read for name in page] == [f"s{number}" for number in expected]
    await store.close()


async def test_a_list_reads_on_until_a_page_is_full() -> None:
    """What a filter chooses may be far into the prefix."""
    store = MemoryStore()
    for number in range(SCAN + 3):
        value = SyncState(name=f"{number:05}", failures=int(number >= SCAN)).SerializeToString()
        await store.put(f"p/{number:05}", value)
    read = await _read(store, filter="failures > 0", page_size=2)
    assert read == [[f"{SCAN:05}", f"{SCAN + 1:05}"], [f"{SCAN + 2:05}"]]
    await store.close()


@pytest.mark.parametrize("order", ["", "name"])
@pytest.mark.parametrize("stored", [True, False])
async def test_a_page_has_no_more_bytes_than_one_answer_takes(
    order: str, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large items make short pages, the largest a page of its own; none makes a list fail."""
    monkeypatch.setattr("hanse.rpc.lists.pagination.MAX_PAGE_BYTES", 1000)
    sizes = [1, 480, 480, 1, 2000, 1, 1]
    states = [SyncState(name=str(at), status=b"x" * size) for at, size in enumerate(sizes)]
    store = MemoryStore()
    for state in states:
        await store.put(f"q/{state.name}", state.SerializeToString())
    token, read = "", []
    while True:
        request = ListSyncStatesRequest(order_by=order, page_token=token, page_size=100)
        query = ListQuery.of(request, SyncState.DESCRIPTOR)
        if stored:
            page = await query.read(store, "q/", _state)
        else:
            page = query.page([(state.name, state) for state in states], revision=1)
        read.append([state.name for state in page.items])
        if not (token := page.next_page_token):
            break
    assert read == [["0", "1", "2", "3"], ["4"], ["5", "6"]]
    await store.close()
