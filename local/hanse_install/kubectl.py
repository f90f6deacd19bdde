"""Runs kubectl, which the user has, against one context, and puts what it says into one line.

Owns the flags that each call has, the bound on how long it takes, and which error a refusal is. Manifests go
through standard input, so nothing secret is ever an argument or a file.

Concurrency: each call blocks.

Next: `hanse_install.checks`, which calls it first.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hanse.documents import to_yaml
from hanse.errors import (
    ConflictError,
    DeadlineError,
    FailedPreconditionError,
    HanseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)

Manifest = dict[str, Any]
PROGRAM = "kubectl"
REQUEST_SECONDS = 15
"""How long one request may take, seconds; a call may need several."""
_NOISE = re.compile(r"Warning:|[IWEF]\d{4} ")
"""Warnings, and lines of kubectl's log."""
_ERRORS: tuple[tuple[str, type[HanseError]], ...] = (
    ("(Forbidden)", PermissionDeniedError),
    ("is forbidden:", PermissionDeniedError),
    ("(NotFound)", NotFoundError),
    ("conflict", ConflictError),
    ("(Unauthorized)", UnauthenticatedError),
    ("must be logged in", UnauthenticatedError),
    ("nable to connect", UnavailableError),
    ("connection to the server", UnavailableError),
    ("imeout", UnavailableError),
    ("deadline exceeded", UnavailableError),
    ("x509:", UnavailableError),
)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with a kubeconfig (empty: as kubectl finds it) and a context (empty: none is named)."""

    kubeconfig: str = ""
    context: str = ""

    def to(self, context: str) -> Kubectl:
        """Return the same kubeconfig with another context."""
        return Kubectl(self.kubeconfig, context)

    def run(self, *arguments: str, stdin: str = "", seconds: float = 120) -> str:
        """Return what kubectl writes to its standard output. Raises HanseError with what it complains of."""
        try:
            done = subprocess.run(
                self.command(*arguments),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError as error:
            raise missing() from error
        except subprocess.TimeoutExpired as error:
            raise DeadlineError(f"kubectl {arguments[0]} was not done after {seconds:.0f} s") from error
        if done.returncode:
            raise complaint(arguments, done.stderr)
        return done.stdout

    def feed(self, *arguments: str, file: IO[bytes], seconds: float) -> str:
        """As `run`, with a file as the standard input; what is behind `--` stays behind our flags."""
        split = arguments.index("--") if "--" in arguments else len(arguments)
        command = [*self.command(*arguments[:split]), *arguments[split:]]
        try:
            done = subprocess.run(command, stdin=file, capture_output=True, timeout=seconds, check=False)
        except FileNotFoundError as error:
            raise missing() from error
        except subprocess.TimeoutExpired as error:
            raise DeadlineError(f"kubectl {arguments[0]} was not done after {seconds:.0f} s") from error
        if done.returncode:
            raise complaint(arguments, done.stderr.decode(errors="replace"))
        return done.stdout.decode(errors="replace")

    def command(self, *arguments: str) -> list[str]:
        """kubectl with these arguments, the kubeconfig and the context."""
        command = [PROGRAM, *arguments]
        if self.kubeconfig:
            command.append(f"--kubeconfig={self.kubeconfig}")
        if self.context:
            command.append(f"--context={self.context}")
        return command

    def json(self, *arguments: str, stdin: str = "") -> Any:
        """Return what kubectl answers as JSON; None if it answers nothing."""
        answer = self.run(*arguments, "-o", "json", f"--request-timeout={REQUEST_SECONDS}s", stdin=stdin)
        return json.loads(answer) if answer.strip() else None

    def items(self, *arguments: str) -> list[Manifest]:
        """Return the items of a list."""
        answer = self.json("get", *arguments) or {}
        found: list[Manifest] = answer.get("items", [])
        return found

    def apply(self, manifests: Iterable[Mapping[str, Any]], *, force: bool = False) -> None:
        """Apply on the server's side as the field manager `kubefed`; fields that nobody knows are refused."""
        text = documents(manifests)
        if text:
            flags = ["--server-side", "--field-manager=kubefed", "--validate=strict", "-f", "-"]
            self.run("apply", *flags, *(["--force-conflicts"] if force else []), stdin=text, seconds=300)

    def delete(
        self, objects: Sequence[Mapping[str, Any]], *, seconds: float, owning: bool = False, wait: bool = True
    ) -> None:
        """Delete objects, whole or as references, and wait until they are gone; where they are `owning` Pods,
        until those are too."""
        if objects:
            self.run(
                "delete",
                "-f",
                "-",
                "--ignore-not-found",
                f"--cascade={'foreground' if owning else 'background'}",
                f"--timeout={seconds:.0f}s",
                f"--wait={str(wait).lower()}",
                stdin=documents(objects),
                seconds=seconds + 60,
            )


def documents(manifests: Iterable[Mapping[str, Any]]) -> str:
    """Manifests as one YAML text."""
    return "---\n".join(to_yaml(each, width=1 << 20) for each in manifests)


def missing() -> FailedPreconditionError:
    """kubectl is not there."""
    return FailedPreconditionError(
        "kubectl is not on PATH, and init and deinit work with it: install it "
        "(https://kubernetes.io/docs/tasks/tools/), 1.27 or newer"
    )


def require() -> None:
    """Raise FailedPreconditionError unless kubectl is there."""
    if shutil.which(PROGRAM) is None:
        raise missing()


def complaint(arguments: Sequence[str], stderr: str) -> HanseError:
    """Return what kubectl complained of, as the error that it is."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    told = [line for line in lines if not _NOISE.match(line)] or lines
    text = "; ".join(dict.fromkeys(told)).removeprefix("error: ") or "it says nothing"
    kind = next((kind for mark, kind in _ERRORS if mark in text), FailedPreconditionError)
    return kind(f"kubectl {arguments[0]}: {text[:600]}")


def kustomize(folder: Path) -> str:
    """Render a kustomization."""
    return Kubectl().run("kustomize", str(folder), seconds=60)
