"""Whoever installs and runs the federation: a home, a kubeconfig, and the three commands.

Concurrency: calls block. Next: `tests.node.test_node`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Operator:
    """Runs commands with a home of its own; contexts are `host` and, once it is there, the federation's."""

    def __init__(self, home: Path, kubeconfig: Path, programs: Path) -> None:
        home.mkdir()
        self.home = home
        self.kubeconfig = home / "kubeconfig"
        others = {name: value for name, value in os.environ.items() if not name.startswith("HANSE_")}
        self._environment = {
            **others,
            "HOME": str(home),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{os.environ['PATH']}:{programs}",  # etcdutl is there
        }
        shutil.copy(kubeconfig, self.kubeconfig)

    def run(self, program: str, *words: str, stdin: str = "", status: int = 0, seconds: float = 300) -> str:
        """What a command writes to standard output. It ends with that status, else the test fails."""
        own = Path(sys.executable).with_name(program)
        done = subprocess.run(
            [str(own) if own.exists() else program, *words],
            input=stdin,
            cwd=self.home,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        told = f"{program} {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == status, told
        return done.stdout if status == 0 else done.stderr

    def kubectl(self, *words: str, context: str = "host", stdin: str = "") -> str:
        """kubectl, in the host cluster or in another context."""
        return self.run("kubectl", f"--context={context}", *words, stdin=stdin)

    def get(self, *words: str, context: str = "host") -> Json:
        """What `kubectl get` finds."""
        found: Json = json.loads(self.kubectl("get", *words, "-o", "json", context=context))
        return found

    def apply(self, *manifests: Json) -> None:
        """Apply manifests to the host cluster."""
        self.kubectl(
            "apply",
            "--server-side",
            "-f-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}),
        )

    def python(self, pod: str, namespace: str, code: str) -> str:
        """Run Python in a Pod that has it."""
        return self.kubectl("exec", "-n", namespace, pod, "--", "python", "-c", code)
