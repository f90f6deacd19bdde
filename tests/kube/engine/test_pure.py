"""The pure parts: history, paths, negotiation, durations, JSONPath, protobuf, propagation."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import CompactedError, InvalidArgumentError
from hanse.federation.propagation import object_propagates, propagates
from hanse.federation.strategies import federation_kinds
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.crds import _priority
from hanse.kube.engine.history import ResourceHistory
from hanse.kube.engine.served import ObjectChange, ServedObject
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.kinds.table import human_duration
from hanse.kube.model import jsonpath
from hanse.kube.server.negotiation import Wanted, parse_accept
from hanse.kube.server.request import ResourcePath, parse_path
from hanse.kube.wire.protobuf import decode_object
from hanse.store import MemoryStore
from hanse.store.keys import ObjectKey
from hanse.well_known import UNREADABLE
from tests.support.waiting import SECONDS


def _entry(name: str, revision: int) -> ServedObject:
    metadata = {"name": name, "namespace": "n", "resourceVersion": str(revision)}
    key = ObjectKey("", "configmaps", "n", name)
    return ServedObject(
        key, obj={"metadata": metadata}, intent={}, intent_revision=revision, revision=revision
    )


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(min_value=1, max_value=8))
def test_history_shows_every_state_within_its_window(names: list[str], window: int) -> None:
    """`at` gives the state of each revision, or says that it is too old; never another state."""
    log = ResourceHistory(floor=0, window=window)
    states = [dict[str, int]()]
    for revision, name in enumerate(names, start=1):
        now = dict(states[-1])
        previous = log.entries.get(("n", name))
        if previous is not None and revision % 3 == 0:
            log.append(ObjectChange(revision, "DELETED", previous.key, previous, previous))
            del now[name]
        else:
            entry = _entry(name, revision)
            kind = "MODIFIED" if previous else "ADDED"
            log.append(ObjectChange(revision, kind, entry.key, entry, previous))  # type: ignore[arg-type]
            now[name] = revision
        states.append(now)
    for revision, state in enumerate(states):
        if revision < max(0, len(names) - window):
            with pytest.raises(CompactedError):
                log.at(revision, None)
            continue
        assert {e.key.name: e.revision for e in log.at(revision, None)} == state
        assert len(log.read(log.after(revision))) == len(names) - revision


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/namespaces", ResourcePath("", "v1", "namespaces")),
        ("/api/v1/namespaces/a", ResourcePath("", "v1", "namespaces", name="a")),
        ("/api/v1/namespaces/a/status", ResourcePath("", "v1", "namespaces", name="a", subresource="status")),
        ("/api/v1/namespaces/a/pods", ResourcePath("", "v1", "pods", "a")),
        (
            "/apis/apps/v1/namespaces/a/deployments/b/scale",
            ResourcePath("apps", "v1", "deployments", "a", "b", "scale"),
        ),
        ("/apis/apps/v1/watch/deployments", ResourcePath("apps", "v1", "deployments", watch=True)),
        ("/api/v1", None),
        ("/apis/apps", None),
        ("/version", None),
    ],
)  # fmt: skip
def test_paths_name_resources(path: str, expected: ResourcePath | None) -> None:
    """Every form of URL of the Kubernetes API."""
    assert parse_path(path) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Wanted()),
        ("*/*", Wanted()),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Wanted("table")),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Wanted()),
        ("application/vnd.kubernetes.protobuf,application/json", Wanted()),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Wanted("metadata")),
        ("application/yaml", Wanted(media="application/yaml")),
    ],
)
def test_the_first_form_that_can_be_served_is_served(accept: str, expected: Wanted) -> None:
    """Accept headers as Kubernetes clients send them."""
    assert parse_accept(accept) == expected


def test_what_cannot_be_served_is_refused() -> None:
    """406, not something else than asked for."""
    with pytest.raises(InvalidArgumentError, match="text/html"):
        parse_accept("text/html")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (330, "5m30s"), (600, "10m"), (3 * 3600, "3h"),
     (5 * 3600 + 60, "5h1m"), (47 * 3600, "47h"), (50 * 3600, "2d2h"), (30 * 86400, "30d"),
     (800 * 86400, "2y70d"), (-5, "<invalid>")],
)  # fmt: skip
def test_durations_read_as_in_kubectl(seconds: float, text: str) -> None:
    """One or two units, as kubectl users know."""
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (".a.b", [1]),
        ("{.a.b}", [1]),
        (".list[*].n", ["x", "y"]),
        (".list[1].n", ["y"]),
        (".list[?(@.n=='y')].v", [2]),
        (".list[?(@.on==true)].n", ["x"]),
        (r".labels.a\.b/c", ["dotted"]),
        (".labels['a.b/c']", ["dotted"]),
        (".nothing.here", []),
    ],
)
def test_json_paths_reach_values(path: str, values: list[object]) -> None:
    """What printer columns use."""
    obj = {
        "a": {"b": 1},
        "list": [{"n": "x", "v": 1, "on": True}, {"n": "y", "v": 2}],
        "labels": {"a.b/c": "dotted"},
    }
    assert jsonpath.find(path, obj) == values


def test_versions_are_ordered_as_kubernetes_does() -> None:
    """GA, beta, alpha, each by number; other names last."""
    names = ["v1alpha1", "v2", "foo", "v1beta2", "v10", "v1beta1", "v1"]
    assert sorted(names, key=_priority, reverse=True) == [
        "v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo",
    ]  # fmt: skip


@given(st.binary(max_size=200))
def test_broken_protobuf_is_an_error_and_nothing_else(body: bytes) -> None:
    """Whatever the bytes are, the decoder says what is wrong or gives an object."""
    unknown = b"k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12" + bytes([min(len(body), 127)]) + body[:127]
    for candidate in (body, unknown):
        try:
            decoded = decode_object(candidate)
        except InvalidArgumentError:
            continue
        assert decoded["kind"]


def test_short_and_plural_names_are_unique_within_a_group() -> None:
    """No two kinds of a group and version share a name."""
    catalogue = Catalogue(federation_kinds())
    for group, versions in catalogue.groups().items():
        for version in versions:
            infos = catalogue.group_version(group, version)
            names = [n for i in infos for n in {i.plural, i.singular, *i.short_names}]
            assert len(names) == len(set(names)), (group, version)


def test_every_builtin_kind_has_a_schema() -> None:
    """A kind without a schema would be neither checked nor explained."""
    catalogue = Catalogue(kubernetes())
    assert [i.kind for i in catalogue if catalogue.schema(i) is None] == []


def test_what_propagates() -> None:
    """Workloads and configuration go to members; what clusters make themselves does not."""
    assert propagates("", "configmaps")
    assert propagates("example.com", "widgets")
    assert not propagates("", "pods")
    assert not propagates("rbac.authorization.k8s.io", "roles")
    assert not propagates("storagemigration.k8s.io", "storageversionmigrations")
    assert not propagates("resource.k8s.io", "devicetaintrules")
    assert propagates("resource.k8s.io", "resourceclaimtemplates")
    owned = {"metadata": {"name": "x", "ownerReferences": [{"controller": True}]}}
    assert not object_propagates("apps", "replicasets", owned)
    assert object_propagates("apps", "replicasets", {"metadata": {"name": "x"}})
    assert not object_propagates("", "namespaces", {"metadata": {"name": "kube-system"}})


async def test_an_object_that_cannot_be_read_stops_no_other() -> None:
    """It is served with the reason, others are served as ever, and the store's count is still right."""
    store = MemoryStore()
    meta = {"name": "a", "namespace": "n", "uid": "u"}
    good: Any = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
    keys = [ObjectKey("", "configmaps", "n", name) for name in "abc"]
    await store.put(keys[0].key(), orjson.dumps(good))
    await store.put(keys[1].key(), b"{")
    cache = ObjectCache(store, shared=True)
    running = asyncio.create_task(cache.run())
    try:
        async with asyncio.timeout(SECONDS):
            await cache.synced()
            await cache.reached(await store.put(keys[0].key(), b"{"))
            third = {**good, "metadata": {**good["metadata"], "name": "c"}}
            await cache.reached(await store.put(keys[2].key(), orjson.dumps(third)))
            await cache.reached(await store.put("objects/no-object", b"{}"))
            await cache.fresh()
            assert [cache.get(key) is not None for key in keys] == [True, True, True]
            shown = [_metadata(cache, key) for key in keys[:2]]
            assert [shown[0]["uid"], shown[1]["name"]] == ["u", "b"]  # what was known of the first stays
            assert all("not JSON" in each["annotations"][UNREADABLE] for each in shown)
            assert [bool(cache.unreadable(key)) for key in keys] == [True, True, False]
            second = {**good, "metadata": {**good["metadata"], "name": "b"}}
            await cache.reached(await store.put(keys[1].key(), orjson.dumps(second)))
            await store.delete("objects/no-object")
            await store.delete(keys[0].key())
            await cache.fresh()
        assert [cache.get(key) is not None for key in keys] == [False, True, True]
        assert not any(cache.unreadable(key) for key in keys)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()


def _metadata(cache: ObjectCache, key: ObjectKey) -> Any:
    entry = cache.get(key)
    assert entry is not None
    return entry.object["metadata"]


class Busy(MemoryStore):
    """A store in which somebody else writes an object whenever it is asked whether one was written."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def unchanged_since(
        self, prefix: str, revision: int, *, count: int, through: str = ""
    ) -> int | None:
        """Write, and answer."""
        self.asked += 1
        obj = {"metadata": {"name": "a", "namespace": "n", "uid": "u"}, "data": {"n": str(self.asked)}}
        await self.put(ObjectKey("", "configmaps", "n", "a").key(), orjson.dumps(obj))
        return await super().unchanged_since(prefix, revision, count=count, through=through)


async def test_a_consistent_read_does_not_wait_for_what_is_written_after_it() -> None:
    """Under writes that never stop a shared cache is fresh once it has what was there at the read."""
    store = Busy()
    cache = ObjectCache(store, shared=True)
    running = asyncio.create_task(cache.run())
    try:
        async with asyncio.timeout(SECONDS):
            await cache.synced()
            written = await store.put("members/x", b"1")
            await cache.fresh()
            assert cache.revision >= written
            assert store.asked == 1
            await cache.fresh()
            assert store.asked <= 2
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()


async def test_the_answer_to_a_write_is_never_labelled_with_a_later_one() -> None:
    """A cache that has seen the next write before the answer is made serves what was written as of then."""
    store = MemoryStore()
    key = ObjectKey("", "services", "n", "web")
    first = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "n", "uid": "u"}}
    cache = ObjectCache(store)
    running = asyncio.create_task(cache.run())
    try:
        async with asyncio.timeout(SECONDS):
            await cache.synced()
            created = await store.put(key.key(), orjson.dumps(first))
            await cache.reached(
                await store.put(key.key(), orjson.dumps({**first, "status": {"seen": "later"}}))
            )
        answer = cache.served(key, first, created)
        assert "status" not in answer
        assert answer["metadata"]["resourceVersion"] == str(created)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()
