"""Which releases work beside each other, and how processes learn of each other's."""

from __future__ import annotations

import pytest
import structlog
from hanse_local import verdict

from hanse.process import skew
from hanse.process.skew import MAX_PEERS, RECENT_SECONDS, Peers, complaints, supported


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("0.1.0", "0.1.9", True),
        ("0.1.0", "0.2.0", True),
        ("0.1.0", "0.3.0", False),
        ("0.9.0", "1.0.0", False),
        ("1.4.2", "1.3.0", True),
        ("0.2.0.dev1", "0.1.0-rc1", True),
        ("0.3.0rc1", "0.1.0", False),
        ("0.1.0", "", True),
        ("0.1.0", "unknown", True),
    ],
)
def test_one_minor_version_apart_is_supported(one: str, other: str, *, expected: bool) -> None:
    """Of one major version; of what is no release nothing is held against it. Both ways the same."""
    assert supported(one, other) is expected
    assert supported(other, one) is expected


def test_what_is_too_old_is_named_beside_the_newest() -> None:
    """Not the ones in between, and nothing where all fit."""
    found = complaints({"apiserver": "0.3.1", "syncer": "0.2.0", "dns": "0.1.0", "registry": ""})
    assert len(found) == 1
    assert found[0].startswith("dns is of release 0.1.0, apiserver of 0.3.1: at most one minor")
    assert complaints({"apiserver": "0.2.0", "dns": "0.1.0"}) == []
    assert complaints({"dns": ""}) == []


def test_a_peer_is_said_once_and_counts_while_it_is_met() -> None:
    """Also where two processes of one name take turns; one that was upgraded stops to count."""
    now = 0.0
    peers = Peers("0.3.0", clock=lambda: now)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            peers.note("hanse:service:syncer", "0.1.0")
            peers.note("hanse:service:syncer", "0.3.0")
            peers.note("hanse:service:dns", "0.2.0")
            peers.note("hanse:service:registry", "")
    assert [(each["log_level"], each["peer_version"]) for each in logs] == [
        ("warning", "0.1.0"),
        ("info", "0.2.0"),
    ]
    assert peers.unsupported == ["hanse:service:syncer 0.1.0"]
    now = RECENT_SECONDS + 1
    assert peers.unsupported == []


def test_nobody_can_fill_what_is_noted() -> None:
    """What a peer tells is a release or nothing, and so many are noted."""
    peers = Peers()
    with structlog.testing.capture_logs() as logs:
        for number in range(2 * MAX_PEERS):
            peers.note("x", f"9.{number}.0")
    assert len(logs) == MAX_PEERS
    assert skew.told([(skew.KEY, "1.2.3")]) == "1.2.3"
    for junk in ("1", "1.2.3\n", "a" * 1000, b"1.2.3", "1.2." + "9" * 100):
        assert skew.told([(skew.KEY, junk)]) == ""
    assert skew.told(None) == ""


def test_status_says_which_processes_do_not_fit() -> None:
    """A process that was started again after the code was replaced under the supervisor, say."""

    def snapshot(release: str) -> dict[str, object]:
        process = {"name": "dns", "wanted": False, "release": release}
        return {"phase": "ready", "release": "0.1.0", "processes": [process]}

    assert verdict.problems(snapshot("0.2.0"), now=0.0) == []
    assert verdict.releases(snapshot("0.2.0")) == {"dns": "0.2.0", "supervisor": "0.1.0"}
    found = verdict.problems(snapshot("0.3.0"), now=0.0)
    assert len(found) == 1
    assert found[0].startswith("supervisor is of release 0.1.0, dns of 0.3.0")
