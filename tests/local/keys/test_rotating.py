"""The authorities of a data directory are replaced, and what was interrupted is continued."""

from __future__ import annotations

import base64
import fcntl
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hanse_local.checks import SERVICES
from hanse_local.configs import Access, kubeconfig
from hanse_local.keys import rotating
from hanse_local.keys.certificates import authorities, held
from hanse_local.keys.overlap import Overlap, unfinished
from hanse_local.keys.renewing import endings, listed, renew
from hanse_local.keys.rotating import rotate
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions

from hanse.errors import ConfigError, FailedPreconditionError
from hanse.security.pki import CertificateAuthority, KeyPair, issued_by, write_private
from hanse.security.rotation import Stage, stage_of
from tests.local.fakes import plan_of

NOTHING: list[str] = []


def prepared(folder: Path, options: UpOptions) -> DataDir:
    """A data directory that was prepared once, with a kubeconfig."""
    made = DataDir.at(folder / "data")
    made.create()
    plan = plan_of(made, options)
    pki = made.pki
    access = Access(
        server=plan.https,
        ca=(pki / "ca.crt").read_bytes(),
        cert=(pki / "admin.crt").read_bytes(),
        key=(pki / "admin.key").read_bytes(),
    )
    write_private(made.kubeconfig, kubeconfig(access, {}).encode())
    return made


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """A federation that does not run."""
    return prepared(tmp_path, UpOptions(clusters=1))


def present(data: DataDir) -> dict[str, bytes]:
    """The authorities that issue."""
    return {
        name: CertificateAuthority.read(directory).pair.cert_pem
        for name, directory in authorities(data).items()
    }


def leaves(data: DataDir) -> dict[Path, bytes]:
    """All certificates, and those of the authority that has issued each."""
    return {
        path: path.read_bytes()
        for directory in authorities(data).values()
        for path in directory.glob("*.crt")
        if not path.stem.startswith("ca")
    }


def check_done(data: DataDir, old: dict[str, bytes]) -> None:
    """All authorities are others, everything is of them, and the old ones are trusted nowhere."""
    now = present(data)
    assert set(now.values()).isdisjoint(old.values())
    for name, directory in authorities(data).items():
        assert stage_of(directory) is Stage.SETTLED
        assert (directory / "ca.crt").read_bytes() == now[name]
        for path in leaves(data):
            if path.parent == directory:
                assert issued_by(KeyPair.read(directory, path.stem).certificate, now[name]), path
    assert not data.overlap.exists()
    document = yaml.safe_load(data.kubeconfig.read_text())
    trusted = base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"])
    assert trusted == now["hanse-ca"]
    user = document["users"][0]["user"]
    assert base64.b64decode(user["client-certificate-data"]) == (data.pki / "admin.crt").read_bytes()
    assert [*unfinished(data)] == []
    assert {each.file for each in listed(data)} == {f"{name}.crt" for name in (*SERVICES, "admin")}


def test_all_authorities_are_replaced(data: DataDir) -> None:
    """One run does it where nobody needs an overlap, and says what it does."""
    old, said = present(data), list[str]()
    assert rotate(data, overlap=None, say=said.append)
    check_done(data, old)
    assert "taken again by" in "".join(said)
    assert said[-1] == "done: what the old authorities have issued is refused"
    again = present(data)
    assert rotate(data, overlap=timedelta(), say=said.append)
    check_done(data, again)


def test_during_the_overlap_old_and_new_count(data: DataDir) -> None:
    """The user's certificate is of the new authority, those of the services of the old one; a renewal leaves
    it so; the end is said, and nothing is taken away before."""
    old, said = present(data), list[str]()
    services = {path: content for path, content in leaves(data).items() if path.stem in SERVICES}
    assert not rotate(data, overlap=timedelta(days=7), say=said.append)
    end = datetime.now(UTC) + timedelta(days=7)
    assert f"{end:%Y-%m-%d}" in said[-1]
    assert f"{end:%Y-%m-%d}" in "".join(unfinished(data))
    renew(data)
    assert present(data) == old
    assert {path: path.read_bytes() for path in services} == services
    admin = KeyPair.read(data.pki, "admin").certificate
    assert not issued_by(admin, old["hanse-ca"])
    assert issued_by(admin, (data.pki / "ca.crt").read_bytes())
    document = yaml.safe_load(data.kubeconfig.read_text())
    trusted = base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"])
    assert trusted == (data.pki / "ca.crt").read_bytes()
    plan_of(data, UpOptions())  # another `hanse up` keeps it so
    assert present(data) == old
    assert not rotate(data, overlap=None, say=said.append)
    assert present(data) == old
    assert rotate(data, overlap=timedelta(), say=said.append)
    check_done(data, old)


def test_an_advertised_federation_is_told_how_long(tmp_path: Path) -> None:
    """Others have kubeconfigs: nothing is done before it is said what becomes of them."""
    data = prepared(tmp_path, UpOptions(clusters=0, advertise=("fed.example.org",)))
    old = present(data)
    with pytest.raises(ConfigError, match=r"fed\.example\.org.*--overlap 7d"):
        rotate(data, overlap=None, say=NOTHING.append)
    assert present(data) == old
    assert not data.overlap.exists()
    assert rotate(data, overlap=timedelta(), say=NOTHING.append)
    check_done(data, old)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        *((step, number) for step in ("begin", "switch", "finish", "renew") for number in (1, 2, 3)),
        ("save", 1),
        ("save", 2),
    ],
)
def test_it_is_gone_on_with_from_wherever_it_was_interrupted(
    data: DataDir, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    """Before the first, second or third of each step: the next run ends where an uninterrupted one does, and
    replaces nothing twice."""
    old, made = present(data), set[bytes]()
    owner: Any = Overlap if step == "save" else rotating
    real, calls = getattr(owner, step), 0

    def interrupted(*arguments: Any, **values: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise KeyboardInterrupt
        return real(*arguments, **values)

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            rotate(data, overlap=None, say=NOTHING.append)
        for directory in authorities(data).values():
            trusted = (directory / "ca.crt").read_bytes()
            made.update(each for each in present(data).values() if each not in old.values())
            for path in directory.glob("*.crt"):
                if not path.stem.startswith("ca"):
                    assert issued_by(KeyPair.read(directory, path.stem).certificate, trusted), path
        plan_of(data, UpOptions())
        assert rotate(data, overlap=None, say=NOTHING.append)
    check_done(data, old)
    assert made <= set(present(data).values()), "an authority was replaced twice"


@pytest.mark.parametrize("step", ["begin", "switch", "finish"])
def test_without_its_record_it_is_gone_on_with_too(
    data: DataDir, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What is said of a damaged record holds: it can be deleted at any stage."""
    old, calls = present(data), 0
    real = getattr(rotating, step)

    def interrupted(*arguments: Any, **values: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        real(*arguments, **values)

    with monkeypatch.context() as patched:
        patched.setattr(rotating, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            rotate(data, overlap=None, say=NOTHING.append)
    data.overlap.unlink()
    monkeypatch.setattr(rotating._Rotation, "_servers", servers_that_take_all)
    monkeypatch.setattr(rotating, "accepts", lambda *_: True)
    monkeypatch.setattr(rotating._Rotation, "_shows_new", lambda *_: True)
    assert rotate(data, overlap=None, say=NOTHING.append)
    check_done(data, old)


def servers_that_take_all(rotation: Any) -> list[tuple[str, int, Path]]:
    """One server of each authority."""
    return [("x", 1, directory) for directory in authorities(rotation._data).values()]


def test_two_do_not_rotate_at_once(data: DataDir) -> None:
    """The second is told so; issuing waits for whoever issues."""
    with rotating._alone(data), pytest.raises(FailedPreconditionError, match="right now"):
        rotate(data, overlap=None, say=NOTHING.append)
    with held(data):
        pass
    with pytest.raises(FailedPreconditionError, match="no federation"):
        rotate(DataDir.at(data.root / "nowhere"), overlap=None, say=NOTHING.append)


@pytest.mark.parametrize("step", ["begin", "switch", "finish"])
def test_an_authority_is_changed_only_while_nobody_issues(
    data: DataDir, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A renewal that has read the authorities before would write them back after."""
    old, real, free = present(data), getattr(rotating, step), list[bool]()

    def watched(*arguments: Any, **values: Any) -> None:
        descriptor = os.open(data.pki, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free.append(True)
        except BlockingIOError:
            free.append(False)
        finally:
            os.close(descriptor)
        real(*arguments, **values)

    monkeypatch.setattr(rotating, step, watched)
    assert rotate(data, overlap=None, say=NOTHING.append)
    assert free == [False] * 3
    check_done(data, old)


def test_it_is_not_done_while_an_old_authority_is_trusted(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record stays for the next run."""
    old, said = present(data), list[str]()
    with monkeypatch.context() as patched:
        patched.setattr(rotating, "finish", lambda _: None)
        with pytest.raises(FailedPreconditionError, match="not replaced yet"):
            rotate(data, overlap=None, say=said.append)
    assert data.overlap.exists()
    assert not any(each.startswith("done") for each in said)
    assert rotate(data, overlap=None, say=said.append)
    check_done(data, old)


def test_a_damaged_record_is_said(data: DataDir) -> None:
    """What was done counts all the same."""
    data.overlap.write_text("{")
    assert "damaged" in "".join(unfinished(data))
    with pytest.raises(ConfigError, match="damaged"):
        rotate(data, overlap=None, say=NOTHING.append)
    data.overlap.write_text(json.dumps({"old": {}, "end": None, "restarted": []}))
    assert "are being replaced:" in "".join(unfinished(data))


def test_an_authority_that_ends_is_a_problem(data: DataDir) -> None:
    """Three months before, and when it is over, with what to do."""
    now = datetime.now(UTC)
    assert [*endings(data, now=now)] == []
    assert len([*endings(data, now=now + timedelta(days=3650 - 80))]) == 3
    said = [*endings(data, now=now + timedelta(days=3660))]
    assert all("ended on" in each and "hanse certificates rotate-ca" in each for each in said)
    (data.etcd_pki / "ca.crt").write_bytes(b"")
    assert any("cannot be used" in each for each in endings(data, now=now))
