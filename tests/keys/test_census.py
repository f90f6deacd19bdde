"""What is sealed with which key, counted over all that is stored."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest
from hanse_local.backup.manifest import BackupManifest
from hanse_local.keys.rings import left_of, places_of

from hanse.errors import DataLossError
from hanse.security.credentials import Sealer
from hanse.security.keyring import (
    KeyRing,
    add_key,
    create_key_file,
    new_key,
    promote_key,
    read_keys,
    remove_keys,
)
from hanse.security.kms import KmsRing
from hanse.security.sealing import ObjectSealer
from hanse.store import MemoryStore, census, keys
from hanse.store.census import take_credentials, take_objects
from hanse.store.keys import ObjectKey
from tests.support.stores.kms import PluginServer

OBJECT = b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"b"}}'


async def test_objects_are_counted_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over pages; what is plain does not count, what cannot be opened is named with its reason."""
    monkeypatch.setattr(census, "_PAGE", 3)
    store, one, two = MemoryStore(), new_key(), new_key()
    for number in range(7):
        key = ObjectKey("", "secrets", "shop", f"s{number}").key()
        await store.put(key, ObjectSealer([one if number < 5 else two], kinds=["secrets"]).seal(key, OBJECT))
    await store.put(ObjectKey("", "configmaps", "shop", "plain").key(), OBJECT)
    found = await take_objects(store, KeyRing([one]))
    assert (found.count(one.id), found.count(two.id), found.unreadable) == (5, 2, 2)
    assert f"sealed with key {two.id}" in found.reasons[0]
    assert (await take_objects(store)).unreadable == 0, "without keys nothing is opened"


async def test_credentials_are_counted_with_those_of_a_plugin(tmp_path: Path) -> None:
    """A backup tells by it which of the plugin's keys it needs."""
    store, key = MemoryStore(), new_key()
    await store.put(keys.credential("a"), Sealer([key]).seal("a", b"x"))
    await store.put(keys.credential("broken"), b"?")
    async with PluginServer(tmp_path) as plugin:
        ring = KmsRing(plugin.socket, [key])
        await ring.poll()
        await store.put(keys.credential("b"), Sealer(ring).seal("b", b"x"))
        found = await take_credentials(store, ring)
        await ring.close()
    assert found.by_id == {key.id: 1, "key-1": 1}
    assert found.plugin_keys == ("key-1",)
    assert found.unreadable == 1


def test_a_backup_names_the_keys_of_the_plugin() -> None:
    """And one from before plugins can be read."""
    made = BackupManifest("0", "now", "f", "f", (), (), (), plugin_keys=("key-1",))
    assert BackupManifest.decode(made.encode()).plugin_keys == ("key-1",)
    before = made.encode().replace(b'"plugin_keys"', b'"something_else"')
    assert BackupManifest.decode(before).plugin_keys == ()


def test_the_steps_on_a_file(tmp_path: Path) -> None:
    """Last, first, away; the key that seals stays."""
    path = tmp_path / "k"
    create_key_file(path)
    old = read_keys(path)[0].id
    new = add_key(path).id
    assert [key.id for key in read_keys(path)] == [old, new]
    with pytest.raises(Exception, match="is the first in"):
        remove_keys(path, [old])
    promote_key(path, new)
    assert [key.id for key in read_keys(path)] == [new, old]
    remove_keys(path, [old])
    assert [key.id for key in read_keys(path)] == [new]
    with pytest.raises(Exception, match="has no key nope"):
        promote_key(path, "nope")
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_envelope_of_a_plugin_that_is_cut_is_corrupt() -> None:
    """It is no envelope of another key."""
    with pytest.raises(DataLossError, match="corrupt"):
        Sealer([new_key()]).open("a", b"HC1\0\0\0\0\x20" + b"x" * 8)


async def test_what_cannot_be_opened_hides_nothing() -> None:
    """A credential that is junk does not stand for one that is still to be sealed again."""
    store, old, new = MemoryStore(), new_key(), new_key()
    await store.put(keys.credential("junk"), b"?")
    await store.put(keys.credential("lost"), Sealer([new_key()]).seal("lost", b"x"))
    await store.put(keys.credential("a"), Sealer([old]).seal("a", b"x"))
    ring = KeyRing([new, old])
    found = await take_credentials(store, ring)
    assert (found.unreadable, left_of(found, new.id)) == (2, 1)
    await store.put(keys.credential("a"), Sealer(ring).seal("a", b"x"))
    assert left_of(await take_credentials(store, ring), new.id) == 0


def test_metrics_that_end_early_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that stops while it answers is asked again."""

    def cut(*_: object, **__: object) -> None:
        raise http.client.IncompleteRead(b"")

    monkeypatch.setattr("urllib.request.urlopen", cut)
    assert places_of("secrets", "127.0.0.1:1") == {}
