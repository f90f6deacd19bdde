"""`hanse completion`, and what a shell gets by its script."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hanse.api.registry.v1.cluster_pb2 import Cluster
from tests.cli.conftest import World


def hanse(*words: str, **environment: str) -> str:
    """What the installed command prints."""
    program = Path(sys.executable).parent / "hanse"
    return subprocess.run(
        [program, *words], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    ).stdout


@pytest.mark.parametrize(
    ("words", "current", "offered"),
    [
        ("hanse expl", "1", "explain"),
        ("hanse scheduler list-p", "2", "list-placements"),
        ("hanse registry list-clusters --fil", "3", "--filter"),
        ("hanse clusters -o js", "3", "json"),
        ("hanse completion f", "2", "fish"),
    ],
)
def test_what_is_offered(words: str, current: str, offered: str) -> None:
    """Commands of people and of services, their options, and the choices of these."""
    said = hanse(_HANSE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=current)
    assert offered in [line.partition(",")[2] for line in said.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_of_the_shell(shell: str) -> None:
    """It asks `hanse`, and the shell can read it, where the shell is at hand."""
    script = hanse("completion", shell)
    assert f"_HANSE_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n", "-c", script], check=True)


@pytest.fixture
def filled(world: World) -> World:
    """A federation with clusters, and a Deployment in a namespace."""
    for name in ("eu-west", "eu-east", "us"):
        world.clusters[f"clusters/{name}"] = Cluster(name=f"clusters/{name}")
    for path in ("apps/deployments/shop/web", "apps/deployments/default/api", "core/namespaces/_/shop"):
        world.objects[f"objects/{path}"] = {"metadata": {"name": path.rpartition("/")[2]}}
    return world


VALUES = [
    ("hanse unjoin eu", ["eu-east", "eu-west"]),
    ("hanse drain u", ["us"]),
    ("hanse orphans eu-w", ["eu-west"]),
    ("hanse evict deploy/web --cluster us", ["us"]),
    ("hanse registry get-cluster clusters/u", ["clusters/us"]),
    ("hanse get deployments a", ["api"]),
    ("hanse get -n shop deploy/w", ["deploy/web"]),
    ("hanse get --all-namespaces deploy w", ["web"]),
    ("hanse explain configm", ["configmaps"]),
    ("hanse get deploy -n s", ["shop"]),
    ("hanse get nonsense x", []),
]


@pytest.mark.parametrize(("line", "offered"), VALUES, ids=[line for line, _ in VALUES])
def test_values_are_asked_from_the_federation_by_bash(filled: World, line: str, offered: list[str]) -> None:
    """By the script itself: what bash offers for the last word, and no word on standard error."""
    words = line.split()
    script = (
        "source <(hanse completion bash)\n"
        f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}\n"
        "_hanse_completion hanse\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    result = bash(script, config=str(filled.config))
    assert (result.stdout.split(), result.stderr) == (offered, "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_values_are_asked_by_other_shells(filled: World, shell: str) -> None:
    """By the protocol of their scripts."""
    asked = {"COMP_WORDS": "hanse unjoin", "COMP_CWORD": "eu" if shell == "fish" else "2"}
    if shell == "zsh":
        asked["COMP_WORDS"] += " eu"
    said = hanse(_HANSE_COMPLETE=f"{shell}_complete", HANSE_CONFIG=str(filled.config), **asked)
    assert [name for name in ("eu-east", "eu-west", "us") if name in said] == ["eu-east", "eu-west"]


def test_the_configuration_on_the_line_is_used(filled: World) -> None:
    """Before the command and after it."""
    for line in (f"hanse --config {filled.config} unjoin u", f"hanse unjoin --config {filled.config} u"):
        said = hanse(_HANSE_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(line.count(" ")))
        assert said == "plain,us\n"


def test_a_shell_is_told_nothing_by_what_cannot_be_reached(tmp_path: Path) -> None:
    """Neither where nobody listens, nor where nobody answers, nor without or with a wrong configuration."""
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        closed.bind(("127.0.0.1", 0))
        for number, listener in enumerate((silent, closed)):
            config = tmp_path / f"{number}.toml"
            port = listener.getsockname()[1]
            config.write_text(f'[endpoints]\nregistry = "127.0.0.1:{port}"\n')
        (tmp_path / "2.toml").write_text("[nonsense\n")
        for name in ("0.toml", "1.toml", "2.toml", "none.toml"):
            script = "_HANSE_COMPLETE=bash_complete COMP_WORDS='hanse unjoin e' COMP_CWORD=2 hanse"
            result = bash(script, config=str(tmp_path / name))
            assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "", ""), name


def bash(script: str, *, config: str) -> subprocess.CompletedProcess[str]:
    """Run a script by bash, with the installed `hanse` first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HANSE_CONFIG": config}
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
