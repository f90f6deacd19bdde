"""Which specs are run, which of them are expected to fail and why, and how they are run.

A spec is known by its full text, as Ginkgo prints it. Those of `FILES` are run: what they test needs an API
server and perhaps controllers, but no container that runs. Of these, `expected.txt` names the ones that fail,
below the reason.

Concurrency: commands block. Next: `tests.conformance.test_conformance`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
EXPECTED: Final = HERE / "expected.txt"
SOMETIMES: Final = "Sometimes: "
"""How the reason begins of a spec that fails now and then."""
FILES: Final = re.compile(
    r"apimachinery/(?!webhook|crd_conversion_webhook|aggregator)|apps/controller_revision|architecture/|"
    r"auth/(certificates|podcertificaterequest|service_accounts|subjectreviews)|"
    r"common/node/(configmap|lease|podtemplates|runtimeclass|secrets)|instrumentation/|"
    r"network/(endpoints|endpointslice|endpointslicemirroring|ingress|ingressclass|service_cidrs)\.go|"
    r"scheduling/limit_range|"
    r"storage/(csi_node|csistoragecapacity|persistent_volumes|storageclass|volume_attachment|"
    r"volumeattributesclass)"
)
"""Where the specs are that are run, below test/e2e of Kubernetes."""

_TITLE: Final = "specs for an API server"
_BATCH_SECONDS: Final = 1500
_ONE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one spec ended. `trouble` is "" if it passed."""

    spec: str
    trouble: str
    seconds: float


def built() -> Path:
    """Return the program, which is built if it must be."""
    done = subprocess.run(
        ["bash", HERE / "build.sh"], stdout=subprocess.PIPE, text=True, timeout=1700, check=True
    )
    return Path(done.stdout.splitlines()[-1]) / "conformance"


def expected_failures(text: str) -> dict[str, str]:
    """Return spec -> reason. A reason is a line that begins with "# ", and holds for the specs below it.

    Raises ValueError for a spec without a reason, or that is named twice.
    """
    found: dict[str, str] = {}
    reason = ""
    for line in text.splitlines():
        if line.startswith("# "):
            reason = line.removeprefix("# ")
        elif line:
            if not reason or line in found:
                raise ValueError(f"{'named twice' if reason else 'without a reason'}: {line}")
            found[line] = reason
    return found


class Program:
    """The program with the specs, and the API server that they are run against."""

    def __init__(self, program: Path, *, kubeconfig: Path, directory: Path) -> None:
        """`directory` gets reports and output."""
        self._program = program
        self._kubeconfig = kubeconfig
        self._directory = directory

    def specs(self) -> list[str]:
        """Return all specs of `FILES` that are conformance tests, in order."""
        reports = self._run([], name="list", seconds=120, flags=["--ginkgo.dry-run"])
        return sorted(o.spec for o in reports)

    def run(self, specs: Iterable[str]) -> dict[str, Outcome]:
        """Run specs one after another in one process; return how each ended."""
        return {o.spec: o for o in self._run(list(specs), name="batch", seconds=_BATCH_SECONDS)}

    def run_one(self, spec: str) -> Outcome:
        """Run one spec in a process of its own, for at most a minute."""
        name = re.sub(r"\W+", "-", spec)[:150]
        return next(iter(self._run([spec], name=name, seconds=_ONE_SECONDS)))

    def _run(
        self, specs: list[str], *, name: str, seconds: int, flags: Iterable[str] = ()
    ) -> Iterator[Outcome]:
        report = self._directory / f"{name}.json"
        report.unlink(missing_ok=True)
        focus = [f"--ginkgo.focus={_TITLE} {_escaped(spec)}$" for spec in specs] or [
            r"--ginkgo.focus=\[Conformance\]"
        ]
        with (self._directory / f"{name}.out").open("w") as out:
            subprocess.run(
                [
                    self._program, f"--kubeconfig={self._kubeconfig}", "--provider=skeleton",
                    "--allowed-not-ready-nodes=-1", f"--ginkgo.timeout={seconds}s", "--ginkgo.no-color",
                    "--ginkgo.silence-skips", f"--ginkgo.json-report={report}", *focus, *flags,
                ],
                stdout=out, stderr=subprocess.STDOUT, timeout=seconds + 60, check=False,
            )  # fmt: skip
        return outcomes(json.loads(report.read_text()))


def outcomes(reports: Iterable[Mapping[str, Any]]) -> Iterator[Outcome]:
    """Yield how the specs of `FILES` ended of which Ginkgo's JSON reports tell, but for those left out."""
    for report in reports:
        for spec in report["SpecReports"]:
            where = spec["LeafNodeLocation"]["FileName"].rpartition("test/e2e/")[2]
            if spec["LeafNodeType"] != "It" or not FILES.match(where):
                continue
            trouble = str(spec.get("Failure", {}).get("Message", "")) or spec["State"]
            if spec["State"] == "skipped" and trouble == "skipped":
                continue
            text = " ".join((*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"]))
            yield Outcome(text, "" if spec["State"] == "passed" else trouble, spec["RunTime"] / 1e9)


def _escaped(text: str) -> str:
    """Return the text as a regular expression of Go."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)
