"""`hanse completion`, and what a shell gets by its script."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hanse_cli.commands.values import DEADLINE, _seconds

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


PATIENT = {"HANSE_COMPLETION_TIMEOUT": "60"}
"""A busy machine is no federation that cannot be reached."""
VALUES: dict[str, list[str]] = {
    "hanse unjoin eu": ["eu-east", "eu-west"],
    "hanse drain u": ["us"],
    "hanse orphans eu-w": ["eu-west"],
    "hanse evict deploy/web --cluster us": ["us"],
    "hanse registry get-cluster clusters/u": ["clusters/us"],
    "hanse get deployments a": ["api"],
    "hanse get -n shop deploy/w": ["deploy/web"],
    "hanse get --all-namespaces deploy w": ["web"],
    "hanse explain configm": ["configmaps"],
    "hanse get deploy -n s": ["shop"],
    "hanse get nonsense x": [],
}


def test_values_are_asked_from_the_federation_by_bash(filled: World) -> None:
    """By the script itself: what bash offers for the last word of a line, and nothing on standard error."""
    script = ["source <(hanse completion bash)"]
    for line in VALUES:
        words = line.split()
        script += [
            f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}; COMPREPLY=()",
            "_hanse_completion hanse",
            'echo "${COMPREPLY[@]}"',
        ]
    result = bash("\n".join(script), config=str(filled.config), **PATIENT)
    offered = [line.split() for line in result.stdout.splitlines()]
    assert dict(zip(VALUES, offered, strict=True)) == VALUES
    assert result.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_values_are_asked_by_other_shells(filled: World, shell: str) -> None:
    """By the protocol of their scripts."""
    asked = {"COMP_WORDS": "hanse unjoin", "COMP_CWORD": "eu" if shell == "fish" else "2", **PATIENT}
    if shell == "zsh":
        asked["COMP_WORDS"] += " eu"
    said = hanse(_HANSE_COMPLETE=f"{shell}_complete", HANSE_CONFIG=str(filled.config), **asked)
    assert [name for name in ("eu-east", "eu-west", "us") if name in said] == ["eu-east", "eu-west"]


def test_fish_offers_them(filled: World) -> None:
    """The real shell: what it would offer for a line, with the help whole."""
    script = "hanse completion fish | source\n" + "\n".join(
        f"complete -C {shlex.quote(line)}" for line in FISH
    )
    result = real_shell("fish", "-c", script, config=str(filled.config))
    assert [line.partition("\t")[0] for line in result.splitlines()] == [
        name for line in FISH for name in FISH[line]
    ]
    offered = real_shell(
        "fish", "-c", "hanse completion fish | source; complete -C 'hanse clusters --con'", config=""
    )
    assert offered.strip().endswith("~/.hanse/client.toml]"), offered


def test_zsh_completes_them(filled: World, tmp_path: Path) -> None:
    """The real shell, in a terminal: Tab completes the word."""
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    terminal, inside = pty.openpty()
    environment = {**shell_environment(str(filled.config)), "TERM": "dumb", "HOME": str(tmp_path)}
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env=environment,
        start_new_session=True,
    )
    os.close(inside)
    try:
        begin = f"autoload -Uz compinit; compinit -u -d {tmp_path}/dump; source <(hanse completion zsh)"
        typed(terminal, f"{begin}; echo rea''dy\n", until="ready\r")
        for line, completed in ZSH.items():
            typed(terminal, f"\x15{line}\t", until=completed)
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


FISH = {
    "hanse unjoin eu": ["eu-east", "eu-west"],
    "hanse get -n shop deploy/w": ["deploy/web"],
    "hanse expl": ["explain"],
}
ZSH = {"hanse drain u": "us ", "hanse orphans eu-w": "eu-west ", "hanse get -n shop deploy/w": "deploy/web "}


def shell_environment(config: str) -> dict[str, str]:
    """The environment of a shell: the installed `hanse` is first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HANSE_CONFIG": config, **PATIENT}


def real_shell(shell: str, *words: str, config: str) -> str:
    """What a shell prints."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    return subprocess.run(
        [shell, *words], capture_output=True, text=True, check=True, env=shell_environment(config)
    ).stdout


def typed(terminal: int, keys: str, *, until: str) -> None:
    """Type keys into a terminal, and wait until it shows a text."""
    os.write(terminal, keys.encode())
    shown = ""
    while until not in shown:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, f"{until!r} is not in {shown!r}"
        shown += os.read(terminal, 4096).decode(errors="replace")


def test_the_configuration_on_the_line_is_used(filled: World) -> None:
    """Before the command and after it."""
    for line in (f"hanse --config {filled.config} unjoin u", f"hanse unjoin --config {filled.config} u"):
        said = hanse(
            _HANSE_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(line.count(" ")), **PATIENT
        )
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


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "inf", "nan"])
def test_a_wrong_deadline_is_a_second(text: str) -> None:
    """Nothing in the environment makes a shell wait for ever."""
    assert _seconds(text) == DEADLINE
    assert _seconds("2.5") == 2.5


def bash(script: str, *, config: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script by bash, with the installed `hanse` first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HANSE_CONFIG": config, **variables}
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, env=environment
    )
