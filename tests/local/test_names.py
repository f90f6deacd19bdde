"""One rule for the names of a federation, from `hanse up` to the name server."""

from __future__ import annotations

from pathlib import Path

import pytest
from hanse_apiserver import founding
from hanse_apiserver.settings import ApiserverSettings
from hanse_dns.names import Naming
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions

from hanse.errors import ConfigError
from hanse.store import MemoryStore
from hanse.store.keys import FEDERATION
from tests.local.fakes import plan_of

BAD = [
    pytest.param("Bad_Name", "example.org", id="name"),
    pytest.param("hanse", "-example.org", id="suffix"),
    pytest.param("hanse", "example.org.", id="dot"),
]


@pytest.mark.parametrize(("name", "suffix"), BAD)
def test_nothing_is_prepared_or_remembered_with_a_bad_name(tmp_path: Path, name: str, suffix: str) -> None:
    """The next `hanse up` in the data directory starts as if it had not been said."""
    data = DataDir.at(tmp_path / "data")
    data.create()
    with pytest.raises(ConfigError, match="is not a DNS label"):
        plan_of(data, UpOptions(clusters=0, federation_name=name, dns_suffix=suffix))
    assert not data.state.exists()
    assert not list(data.pki.iterdir())


@pytest.mark.parametrize(("name", "suffix"), BAD)
async def test_nothing_is_founded_with_a_bad_name(name: str, suffix: str) -> None:
    """An apiserver does not start with it; and if one did, it would write nothing."""
    with pytest.raises(ConfigError, match="is not a DNS label"):
        ApiserverSettings(federation_name=name, dns_suffix=suffix).validate()
    store = MemoryStore()
    with pytest.raises(ConfigError, match="is not a DNS label"):
        await founding.found(store, short_name=name, dns_suffix=suffix)
    assert await store.get(FEDERATION) is None


@pytest.mark.parametrize(("name", "suffix"), BAD)
def test_the_name_server_has_the_same_rule(name: str, suffix: str) -> None:
    """Names of Services are made of nothing that was not allowed."""
    with pytest.raises(ConfigError, match="is not a DNS label"):
        Naming(name, suffix)
    assert Naming("hanse", "example.org").origin == "example.org."
