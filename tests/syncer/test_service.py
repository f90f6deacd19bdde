"""SyncerService answers over gRPC, and the process starts, serves and stops."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from hanse_syncer.decide.render import ManifestRenderer
from hanse_syncer.federation.state import FederationState
from hanse_syncer.service import POLICY, SyncerServicer
from hanse_syncer.sharing import Sharing

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1 import syncer_service_pb2 as pb
from hanse.api.syncer.v1.syncer_service_pb2_grpc import (
    SyncerServiceStub,
    add_SyncerServiceServicer_to_server,
)
from hanse.api.type.v1 import change_pb2 as change
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.errors import CompactedError, InvalidArgumentError, NotFoundError
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import Policy
from hanse.rpc.server import RpcServer
from hanse.security.credentials import Sealer
from hanse.store import EtcdStore
from tests.support.federation.federation import FEDERATION_ID, Federation
from tests.support.federation.member import Member
from tests.support.stores.etcd import EtcdServer
from tests.support.waiting import until
from tests.syncer.harness import config_map

WEB = "core/configmaps/default/web"
REFERENCE = ObjectReference(resource="configmaps", namespace="default", name="web")


@asynccontextmanager
async def served(fed: Federation, sharing: Sharing | None = None) -> AsyncIterator[Any]:
    """A stub of the service."""
    async with FederationState(fed.store) as state:
        servicer = SyncerServicer(
            store=fed.store,
            federation=state,
            renderer=ManifestRenderer(FEDERATION_ID),
            sealer=fed.sealer,
            controllers=sharing.controllers if sharing is not None else {},
        )
        server = RpcServer(listen="127.0.0.1:0", tls=None, policy=Policy.allow_all())
        server.add(add_SyncerServiceServicer_to_server, servicer)
        async with server, RpcChannel(server.address, tls=None) as channel:
            yield SyncerServiceStub(channel)


def test_policy_covers_every_method() -> None:
    """Each RPC says who may call it."""
    names = [method.name for method in pb.DESCRIPTOR.services_by_name["SyncerService"].methods]
    POLICY.check(f"hanse.api.syncer.v1.SyncerService/{name}" for name in names)


async def test_states_are_got_listed_and_watched(fed: Federation) -> None:
    """Get, List with pages and filters, and Watch show the sync states as they are stored."""
    async with fed.syncer() as sharing, served(fed, sharing) as stub:
        paths = [f"core/configmaps/default/c{number}" for number in range(5)]
        for path in paths:
            await fed.put(path, config_map())
            await fed.place(path, "a", "b")
        for path in paths:
            for name in ("a", "b"):
                await fed.reaches(path, name, sync.APPLIED)
        name = f"syncStates/{paths[0]}/a"
        state = await stub.GetSyncState(pb.GetSyncStateRequest(name=name))
        assert (state.name, state.phase) == (name, sync.APPLIED)
        assert state.revision > 0
        assert 0 < state.create_time.ToNanoseconds() <= state.update_time.ToNanoseconds()
        with pytest.raises(NotFoundError):
            await stub.GetSyncState(pb.GetSyncStateRequest(name=f"syncStates/{WEB}/a"))
        with pytest.raises(InvalidArgumentError):
            await stub.GetSyncState(pb.GetSyncStateRequest(name="nonsense"))

        found: list[str] = []
        token = ""
        while True:
            page = await stub.ListSyncStates(
                pb.ListSyncStatesRequest(
                    page_size=2, page_token=token, filter="cluster = a AND phase = APPLIED"
                )
            )
            found += [each.name for each in page.sync_states]
            token = page.next_page_token
            if not token:
                break
        assert found == [f"syncStates/{path}/a" for path in paths]

        turned = await stub.ListSyncStates(pb.ListSyncStatesRequest(order_by="cluster desc, name desc"))
        assert [each.name for each in turned.sync_states] == [
            f"syncStates/{path}/{name}" for name in ("b", "a") for path in reversed(paths)
        ]

        stream = stub.WatchSyncStates(pb.WatchSyncStatesRequest(parent=f"syncStates/{paths[0]}"))
        seen: list[Any] = []
        async with asyncio.timeout(10):
            async for message in stream:
                seen.append(message)
                if message.kind == change.BOOKMARK and len(seen) == 3:
                    await fed.place(paths[0], "b", releasing=["a"])
                if message.kind == change.UPDATED and message.sync_state.phase == sync.REMOVED:
                    await fed.place(paths[0], "b")
                if message.kind == change.DELETED:
                    break
        assert seen[-1].sync_state.name == f"syncStates/{paths[0]}/a"

        with pytest.raises(CompactedError, match="no revision 99999999 yet"):
            async for _ in stub.WatchSyncStates(pb.WatchSyncStatesRequest(revision=99_999_999)):
                pass


async def test_render_diff_and_resync(fed: Federation) -> None:
    """Render says what each cluster gets, Diff how its object differs, Resync looks again."""
    async with fed.syncer() as sharing, served(fed, sharing) as stub:
        override = orjson.dumps([{"op": "replace", "path": "/data/value", "value": "two"}])
        await fed.put(WEB, config_map("one"))
        await fed.place(WEB, "a", ClusterPlacement(cluster="b", overrides=override))
        for name in ("a", "b"):
            await fed.reaches(WEB, name, sync.APPLIED)
        rendered = await stub.RenderObject(pb.RenderObjectRequest(object=REFERENCE))
        assert [each.cluster for each in rendered.manifests] == ["a", "b"]
        assert [orjson.loads(each.manifest)["data"]["value"] for each in rendered.manifests] == ["one", "two"]
        diff = await stub.DiffObject(pb.DiffObjectRequest(object=REFERENCE))
        assert [(each.cluster, each.in_sync) for each in diff.diffs] == [("a", True), ("b", True)]
        await fed.members["b"].stop()
        diff = await stub.DiffObject(pb.DiffObjectRequest(object=REFERENCE, cluster="b"))
        assert diff.diffs[0].error
        with pytest.raises(NotFoundError, match="no cluster c"):
            await stub.DiffObject(pb.DiffObjectRequest(object=REFERENCE, cluster="c"))
        assert (await stub.Resync(pb.ResyncRequest(cluster="a"))).queued == 1
        assert (await stub.Resync(pb.ResyncRequest(object=REFERENCE))).queued == 2


async def test_process_syncs_survives_kill_and_stops(tmp_path: Path) -> None:
    """The process syncs from a real etcd; killed in the middle of a bulk apply, the next one finishes it."""
    key_file = tmp_path / "credentials.key"
    with EtcdServer(tmp_path / "etcd") as etcd:
        store = await EtcdStore.connect([etcd.endpoint])
        async with Member("a") as member:
            fed = Federation(members=[member])
            await fed.store.close()
            fed.store = store
            fed.sealer = Sealer.from_file(key_file, create=True)
            await fed.found()
            paths = [f"core/configmaps/default/c{number}" for number in range(60)]
            for path in paths:
                await fed.put(path, config_map())
                await fed.place(path, "a")
            first = await start(tmp_path, etcd.endpoint, key_file, "one")
            await until(lambda: len(member.writes) > 5, what="some objects are written", seconds=30)
            first.kill()
            await first.wait()
            second = await start(tmp_path, etcd.endpoint, key_file, "two")
            for path in paths:
                await fed.reaches(path, "a", sync.APPLIED, seconds=30)
            assert all(method == "PATCH" for method, _ in member.writes)
            second.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(second.wait(), 20) == 0
        await store.close()


async def start(directory: Path, etcd: str, key_file: Path, identity: str) -> asyncio.subprocess.Process:
    """Start the syncer and wait until it is ready."""
    ready = directory / f"{identity}.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hanse_syncer",
        f"--etcd-endpoints={etcd}",
        f"--credentials-key-file={key_file}",
        f"--ready-file={ready}",
        f"--identity={identity}",
        "--lease-seconds=2",
        env={key: value for key, value in os.environ.items() if not key.startswith("HANSE_SYNCER_")},
    )
    await until(ready.exists, what=f"the syncer {identity} is ready", seconds=30)
    return process


async def test_states_of_any_size_are_listed(fed: Federation) -> None:
    """As much as members may report does not fit into one answer: it comes in more pages."""
    huge = sync.SyncState(name="x", phase=sync.FAILED, status=b'"' + b"x" * 250_000 + b'"')
    for number in range(70):
        await fed.store.put(f"syncstates/core/configmaps/large/c{number:02}/z", huge.SerializeToString())
    parent, listed, token = "syncStates/core/configmaps/large", 0, ""
    async with fed.syncer() as sharing, served(fed, sharing) as stub:
        while True:
            page = await stub.ListSyncStates(pb.ListSyncStatesRequest(parent=parent, page_token=token))
            listed += len(page.sync_states)
            token = page.next_page_token
            if not token:
                break
    assert listed == 70
