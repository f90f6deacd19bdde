"""An etcd of three members with TLS and authentication, of which single members can be lost and replaced.

Each member has ports of its own that stay, and a data directory of its own. All are stopped by their pids and
never outlive the `with`.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio
from etcd3aio import _protobuf as pb

from hanse.process.settings import TlsFiles
from hanse.security.pki import CertificateAuthority
from hanse.store.admin.roles import ROOT, Roles
from hanse.store.etcd.channel import open_channel
from tests.support.machine.ports import free_ports
from tests.support.stores.etcd import find_etcd


class EtcdMember:
    """One member: its ports, its data, its process."""

    def __init__(self, name: str, folder: Path, ports: Sequence[int]) -> None:
        self.name = name
        self.folder = folder
        self.client, self.peer, self.metrics = ports
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self.client}"

    @property
    def peer_url(self) -> str:
        """Where the other members reach it."""
        return f"https://127.0.0.1:{self.peer}"

    @property
    def log(self) -> str:
        """The end of its log."""
        return (self.folder / "etcd.log").read_text(errors="replace")[-3000:]

    def end(self, number: signal.Signals) -> None:
        """End its process, if there is one."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def until_healthy(self, until: float) -> None:
        """Wait until it has a leader."""
        while True:
            assert self.process is not None
            assert self.process.poll() is None, f"{self.name} has ended:\n{self.log}"
            assert time.monotonic() < until, f"{self.name} is not healthy in time:\n{self.log}"
            with suppress(urllib.error.URLError, OSError):
                url = f"http://127.0.0.1:{self.metrics}/health"
                with urllib.request.urlopen(url, timeout=1) as answer:
                    if b'"true"' in answer.read():
                        return
            time.sleep(0.05)


class EtcdCluster:
    """Three members."""

    def __init__(self, folder: Path, *, arguments: Sequence[str] = ()) -> None:
        """`arguments` are for each member."""
        self.folder = folder
        self.pki = folder / "pki"
        self._arguments = list(arguments)
        self._ca = CertificateAuthority.create("etcd-ca")
        ports = free_ports(9)
        self.members = [
            EtcdMember(f"m{number}", folder / f"m{number}", ports[3 * number : 3 * number + 3])
            for number in range(3)
        ]
        self._made = len(self.members)

    @property
    def endpoints(self) -> list[str]:
        """host:port of each member."""
        return [member.endpoint for member in self.members]

    def tls(self, name: str) -> TlsFiles:
        """The files of the certificate with the common name `name`."""
        return self._ca.ensure_local(self.pki, name.replace(":", "-"), common_name=name)

    def __enter__(self) -> Self:
        self.tls("server")
        peers = ",".join(f"{each.name}={each.peer_url}" for each in self.members)
        try:
            for member in self.members:
                self._spawn(member, peers, state="new")
            for member in self.members:
                member.until_healthy(time.monotonic() + 30)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.end(signal.SIGKILL)

    def give_rights(self, prefix: str = "/hanse") -> None:
        """Switch authentication on, with a user for each service."""

        async def work() -> None:
            roles = await Roles.connect(self.endpoints, prefix=prefix, tls=self.tls(ROOT))
            try:
                await roles.apply()
            finally:
                await roles.close()

        asyncio.run(work())

    def write_authority(self, folder: Path) -> None:
        """Write the authority of all certificates, with its key, as `ca` into a folder."""
        self._ca.pair.write(folder, "ca")

    def alarm(self, *, raised: bool) -> None:
        """Raise the alarm NOSPACE for one member, or take it back."""
        member = self.leader()

        async def work() -> None:
            channel = await open_channel(
                [member.endpoint], tls=self.tls(ROOT), tls_server_name=None, timeout=10.0
            )
            try:
                status = await channel.maintenance.Status(pb.StatusRequest())
                await channel.maintenance.Alarm(
                    pb.AlarmRequest(action=1 if raised else 2, alarm=1, memberID=status.header.member_id)
                )
            finally:
                await channel.close()

        asyncio.run(work())

    def statuses(self) -> dict[str, Any]:
        """What each member that runs says of itself, by name."""
        return {each.name: self._status(each) for each in self.members if each.process is not None}

    def leader(self) -> EtcdMember:
        """The member that leads."""
        found = self.statuses()
        leaders = [
            each for each in self.members if found[each.name].leader == found[each.name].header.member_id
        ]
        assert len(leaders) == 1, found
        return leaders[0]

    def follower(self) -> EtcdMember:
        """One that does not lead."""
        leader = self.leader()
        return next(each for each in self.members if each is not leader)

    def kill(self, member: EtcdMember) -> None:
        """kill -9."""
        member.end(signal.SIGKILL)

    def restart(self, member: EtcdMember) -> None:
        """Start a member again with its data."""
        self._spawn(member, "", state="existing")
        member.until_healthy(time.monotonic() + 30)

    def replace(self, lost: EtcdMember) -> EtcdMember:
        """Put a new member without any data in the place of one that is lost, at the same addresses."""
        assert lost.process is None
        survivor = next(each for each in self.members if each.process is not None)
        new = EtcdMember(
            f"m{self._made}", self.folder / f"m{self._made}", (lost.client, lost.peer, lost.metrics)
        )
        self._made += 1

        async def change() -> None:
            channel = await open_channel(
                [survivor.endpoint], tls=self.tls(ROOT), tls_server_name=None, timeout=10.0
            )
            cluster = pb.ClusterStub(channel._channel)

            async def ask(method: Any, request: Any) -> Any:
                """etcd lets members be changed when those that are there have been connected for 5 s."""
                async with asyncio.timeout(30):
                    while True:
                        try:
                            return await method(request, timeout=10)
                        except grpc.aio.AioRpcError as error:
                            if error.code() != grpc.StatusCode.UNAVAILABLE:
                                raise
                            await asyncio.sleep(0.2)

            try:
                known = await ask(cluster.MemberList, pb.MemberListRequest(linearizable=True))
                gone = [each.ID for each in known.members if each.name == lost.name]
                await ask(cluster.MemberRemove, pb.MemberRemoveRequest(ID=gone[0]))
                await ask(cluster.MemberAdd, pb.MemberAddRequest(peerURLs=[new.peer_url]))
            finally:
                await channel.close()

        asyncio.run(change())
        self.members[self.members.index(lost)] = new
        self._spawn(new, ",".join(f"{each.name}={each.peer_url}" for each in self.members), state="existing")
        new.until_healthy(time.monotonic() + 30)
        return new

    def _status(self, member: EtcdMember) -> Any:
        async def work() -> Any:
            channel = await open_channel(
                [member.endpoint], tls=self.tls(ROOT), tls_server_name=None, timeout=10.0
            )
            try:
                return await channel.read(channel.maintenance.Status, pb.StatusRequest(), what="ask")
            finally:
                await channel.close()

        return asyncio.run(work())

    def _spawn(self, member: EtcdMember, peers: str, *, state: str) -> None:
        client, tls = f"https://{member.endpoint}", self.tls("server")
        command = [
            find_etcd(),
            f"--name={member.name}",
            f"--data-dir={member.folder / 'data'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={member.peer_url}",
            f"--initial-advertise-peer-urls={member.peer_url}",
            f"--listen-metrics-urls=http://127.0.0.1:{member.metrics}",
            f"--initial-cluster-state={state}",
            "--client-cert-auth",
            f"--trusted-ca-file={tls.ca}",
            f"--cert-file={tls.cert}",
            f"--key-file={tls.key}",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={tls.ca}",
            f"--peer-cert-file={tls.cert}",
            f"--peer-key-file={tls.key}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            *([f"--initial-cluster={peers}"] if peers else []),
            *self._arguments,
        ]
        member.folder.mkdir(parents=True, exist_ok=True)
        with (member.folder / "etcd.log").open("ab") as log:
            member.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
