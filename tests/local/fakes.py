"""Fake processes: tiny Python programs that write a ready file, log what happens to them, and obey or not."""

from __future__ import annotations

import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from hanse_local.federation import FederationPlan, prepare
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions
from hanse_local.ports import Claims
from hanse_local.supervise.process import ProcessSpec
from hanse_local.supervise.readiness import ReadyFile

PROGRAM = """
import json, os, signal, sys, time
name, journal, ready, mode = sys.argv[1:5]
def note(what):
    with open(journal, "a") as file:
        file.write(f"{what} {name}\\n")
def stop(*_):
    if mode == "stubborn":
        return
    time.sleep(0.05)
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, signal.SIG_IGN)
if mode == "broken":
    print("this is why it fails", flush=True)
    sys.exit(7)
note("started")
if mode != "silent":
    with open(ready + ".new", "w") as file:
        json.dump({"pid": os.getpid(), "endpoints": {"grpc": "127.0.0.1:1"}}, file)
    os.replace(ready + ".new", ready)
while True:
    time.sleep(0.05)
"""


def plan_of(data: DataDir, options: UpOptions) -> FederationPlan:
    """Prepare a federation that is not run: its ports are free again."""
    with Claims() as claims:
        return prepare(data, options, claims)


@dataclass(frozen=True)
class Fakes:
    """Makes specs of fake processes and remembers what they did."""

    folder: Path

    @property
    def journal(self) -> list[str]:
        """What the processes did, such as "started db", in order."""
        path = self.folder / "journal"
        return path.read_text().splitlines() if path.exists() else []

    def spec(
        self,
        name: str,
        *,
        tier: int = 0,
        stop_tier: int | None = None,
        mode: str = "good",
        grace: float = 5.0,
    ) -> ProcessSpec:
        """A fake process. Modes: good, broken (ends at once), silent (never ready), stubborn (deaf)."""
        ready = self.folder / f"{name}.json"
        return ProcessSpec(
            name=name,
            command=(
                sys.executable,
                "-S",
                "-c",
                PROGRAM,
                name,
                str(self.folder / "journal"),
                str(ready),
                mode,
            ),
            tier=tier,
            stop_tier=stop_tier,
            log=self.folder / f"{name}.log",
            readiness=ReadyFile(ready),
            grace=grace,
        )


def fake_etcd(folder: Path, version: str) -> Path:
    """A program that calls itself etcd of a version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "etcd"
    path.write_text(f"#!/bin/sh\necho 'etcd Version: {version}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
