"""`make image` where it cannot build: one line that says what is missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def said(directory: Path, *programs: str, **environment: str) -> str:
    """What it says, and nothing else, where these programs exist and each call of them fails."""
    for name in ("dirname", "sed", "sh"):
        (directory / name).symlink_to(f"/usr/bin/{name}")
    for name in programs:
        (directory / name).write_text("#!/bin/sh\nexit 1\n")
        (directory / name).chmod(0o755)
    done = subprocess.run(
        [ROOT / "scripts/image.sh"],
        env={"PATH": str(directory), "HOME": os.environ["HOME"], **environment},
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_no_builder_is_one_line(tmp_path: Path) -> None:
    """It names the three that it can use."""
    assert "no docker, podman or buildah: install one of them" in said(tmp_path)


def test_docker_without_its_daemon_is_told_apart(tmp_path: Path) -> None:
    """The client alone builds nothing."""
    assert "docker is installed and its daemon does not answer" in said(tmp_path, "docker")


@pytest.mark.parametrize("name", ["podman", "kaniko"])
def test_a_builder_that_is_named_must_be_there(tmp_path: Path, name: str) -> None:
    """No other is taken in its place."""
    assert f"BUILDER is {name}" in said(tmp_path, BUILDER=name)
