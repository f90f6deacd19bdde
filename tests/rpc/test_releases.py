"""Both sides of a call tell their release, and a service notes that of another."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from hanse.errors import PermissionDeniedError
from hanse.process import skew
from hanse.process.settings import ServiceSettings, TlsFiles
from hanse.process.skew import Peers
from hanse.process.telemetry import setup
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import Policy, group
from hanse.rpc.server import RpcServer

from .echo import NAME, Echo, Stub, Text, add_echo

DNS = "hanse:service:dns"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Peers:
    """Those of this process, which serves as release 0.9.0 and calls as 0.5.0."""
    noted = Peers("0.7.0")
    monkeypatch.setattr(skew, "PEERS", noted)
    monkeypatch.setattr("hanse.rpc.interceptor.__version__", "0.9.0")
    monkeypatch.setattr("hanse.rpc.calls.__version__", "0.5.0")
    return noted


@pytest.mark.parametrize("allowed", [True, False])
async def test_services_note_each_other(tls: Mapping[str, TlsFiles], peers: Peers, *, allowed: bool) -> None:
    """The server its caller, the caller its server; a call that is refused tells nothing."""
    policy = Policy({f"{NAME}/*": [group("hanse:services" if allowed else "hanse:admins")]})
    telemetry = setup("dns", ServiceSettings(), install=False)
    server = RpcServer(listen="127.0.0.1:0", tls=tls["registry"], policy=policy)
    server.add(add_echo, Echo())
    async with server, RpcChannel(server.address, tls=tls["dns"], telemetry=telemetry) as channel:
        if not allowed:
            with pytest.raises(PermissionDeniedError):
                await Stub(channel).get(Text(value="x"))
            assert peers.unsupported == []
            return
        await Stub(channel).get(Text(value="x"))
        assert peers.unsupported == sorted([f"{server.address} 0.9.0", f"{DNS} 0.5.0"])
    telemetry.shutdown()


async def test_users_are_not_noted(tls: Mapping[str, TlsFiles], peers: Peers) -> None:
    """Of whoever calls there may be any number; a command line looks at what it calls by itself."""
    server = RpcServer(
        listen="127.0.0.1:0", tls=tls["registry"], policy=Policy({f"{NAME}/*": [group("hanse:admins")]})
    )
    server.add(add_echo, Echo())
    async with server, RpcChannel(server.address, tls=tls["admin"]) as channel:
        call = Stub(channel).get(Text(value="x"))
        await call
        assert skew.told(await call.trailing_metadata()) == "0.9.0"
    assert peers.unsupported == []
