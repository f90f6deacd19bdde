"""A federation of real processes, started and used as a person does: by `hanse`, `kubectl` and `dig`.

Owns a data directory and the processes of it, which `stop` ends in any case. All state is on disk.

Concurrency: commands block. Next: `members` for the clusters, `api` for a look at them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import yaml
from hanse_local.layout import DataDir
from hanse_local.supervise.background import query

from .api import Api, Json
from .members import Members
from .waiting import until

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("apiserver", "registry", "scheduler", "syncer", "dns")
COMMAND_SECONDS = 120.0
FAST: Mapping[str, str] = {
    "registry.probe_interval": "0.4",
    "registry.probe_timeout": "1.5",
    "registry.inventory_interval": "2",
    "registry.leader_ttl": "4",
    "scheduler.leader_ttl": "4",
    "dns.leader_ttl": "4",
    "syncer.lease_seconds": "4",
    "scheduler.toleration_seconds": "2",
}
"""Settings with which a lost cluster is noticed, one that says too much is found out and forgiven, replicas
move, and leaders are replaced, in seconds."""


def traces(data_dir: Path) -> dict[str, str]:
    """Settings with which each service writes its spans to DATA_DIR.traces/SERVICE.jsonl."""
    folder = data_dir.parent / f"{data_dir.name}.traces"
    folder.mkdir(parents=True, exist_ok=True)
    return {f"{service}.trace_file": str(folder / f"{service}.jsonl") for service in SERVICES}


class CommandError(AssertionError):
    """A command failed; the message has its output."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


class Federation:
    """One federation and its members, while inside `with`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        members: Members,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings` are for `hanse up --set`, such as {"scheduler.toleration_seconds": "2"}."""
        self.data_dir = data_dir
        self.members = members
        self.arguments: tuple[str, ...] = ()
        """Further words for `hanse up`."""
        self.settings = {**FAST, **traces(data_dir), **(settings or {})}
        self.kubeconfig = data_dir.parent / f"{data_dir.name}.kubeconfig"
        """Contexts `hanse` (current) and one per member, whatever kind the members are."""
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HANSE_")},
            **{name: os.environ[name] for name in ("HANSE_ETCD", "HANSE_CACHE") if name in os.environ},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HANSE_DATA_DIR": str(data_dir),
            "HANSE_CONFIG": str(data_dir / "client.toml"),
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(data_dir.parent / f"{data_dir.name}.kube-cache"),
            "DATA_DIR": str(data_dir),
        }
        self._apis: dict[str, Api] = {}

    def __enter__(self) -> Self:
        try:
            self.members.start()
            self.up()
            self.members.join(self)
            self.write_kubeconfig()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Life.

    def up(self) -> None:
        """`hanse up --detach`."""
        chosen = [word for item in self.settings.items() for word in ("--set", "=".join(item))]
        self.hanse("up", "--clusters", str(self.members.simulated), "--detach", *chosen, *self.arguments)

    def down(self) -> None:
        """`hanse down`; no process may end in a failure."""
        self.hanse("down")
        for log in sorted((self.data_dir / "logs").glob("*.log")):
            assert '"level":"critical"' not in log.read_text(errors="replace"), f"{log} tells of a failure"

    def stop(self) -> None:
        """End everything, also after a failure."""
        try:
            self.close()
            self.hanse("down", check=False)
        finally:
            self.members.stop()

    def close(self) -> None:
        """Close connections."""
        for api in self._apis.values():
            api.close()
        self._apis.clear()

    def write_kubeconfig(self) -> None:
        """Merge the federation's kubeconfig with its members'."""
        merged = yaml.safe_load((self.data_dir / "kubeconfig").read_text())
        known = {context["name"] for context in merged["contexts"]}
        for name, path in self.members.kubeconfigs(self).items():
            if name not in known:
                config = yaml.safe_load(path.read_text())
                merged["clusters"].append({"name": name, "cluster": config["clusters"][0]["cluster"]})
                merged["users"].append({"name": name, "user": config["users"][0]["user"]})
                merged["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(yaml.safe_dump(merged))
        self.close()

    # Commands.

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: str | None = None,
        check: bool = True,
        seconds: float = COMMAND_SECONDS,
        cwd: Path = ROOT,
    ) -> Done:
        """Run a command in the federation's environment. Raises CommandError if it fails and `check`."""
        ended = subprocess.run(
            list(command),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=self.environ,
            cwd=cwd,
        )
        done = Done(ended.returncode, ended.stdout, ended.stderr)
        if check and done.status != 0:
            words = " ".join(command)
            raise CommandError(f"`{words}` ended with {done.status}:\n{done.err}{done.out}")
        return done

    def hanse(self, *words: str, check: bool = True, seconds: float = COMMAND_SECONDS) -> str:
        """Run the `hanse` command; its standard output."""
        command = [sys.executable, "-m", "hanse_cli.main", *words]
        return self.run(command, check=check, seconds=seconds).out

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> Done:
        """Run kubectl against the federation, or with `--context` against a member."""
        return self.run(["kubectl", *words], stdin=stdin, check=check)

    def apply(self, *objects: Json, **more: Any) -> Done:
        """`kubectl apply -f -`."""
        return self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects), **more)

    # Looks.

    @property
    def api(self) -> Api:
        """The federation's API."""
        return self.context("hanse")

    def member(self, name: str) -> Api:
        """A member's own API."""
        return self.context(name)

    @property
    def each(self) -> dict[str, Api]:
        """The APIs of all members."""
        return {name: self.member(name) for name in self.members.names}

    def context(self, name: str) -> Api:
        """The API of a context."""
        if name not in self._apis:
            self._apis[name] = Api.from_kubeconfig(self.kubeconfig, name)
        return self._apis[name]

    def status(self) -> dict[str, Any]:
        """What `hanse status -o json` says."""
        found: dict[str, Any] = json.loads(self.hanse("status", "-o", "json"))
        return found

    def endpoint(self, service: str, name: str) -> str:
        """host:port of one of a service's endpoints, such as ("dns", "dns")."""
        state = json.loads((self.data_dir / "state.json").read_text())
        return f"127.0.0.1:{state['ports'][f'{service}.{name}']}"

    def pki(self, name: str) -> Path:
        """A file of the federation's authority, such as `admin.crt`."""
        return self.data_dir / "pki" / name

    def log(self, name: str) -> str:
        """The log of one process."""
        return (self.data_dir / "logs" / f"{name}.log").read_text(errors="replace")

    def dig(self, name: str, kind: str = "A") -> set[str]:
        """What the federation's name server answers: with `dig`, or without it the same by dnspython."""
        host, _, port = self.endpoint("dns", "dns").rpartition(":")
        if shutil.which("dig"):
            words = ["dig", f"@{host}", "-p", port, "+short", "+time=2", "+tries=1", name, kind]
            said = self.run(words).out
            return {line for line in said.splitlines() if line and not line.startswith(";")}
        query = dns.message.make_query(name, dns.rdatatype.from_text(kind))
        answer = dns.query.udp(query, host, port=int(port), timeout=2)
        return {str(record) for rrset in answer.answer for record in rrset}

    # Processes.

    def pid(self, process: str) -> int:
        """The process id that a process has now. Raises KeyError while it does not run."""
        recorded = json.loads((self.data_dir / "run" / "processes.json").read_text())
        return int(recorded[process]["pid"])

    def kill(self, process: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Signal a process; its pid until then. The supervisor starts it again."""
        pid = self.pid(process)
        os.kill(pid, number)
        return pid

    def await_back(self, process: str, *, not_pid: int = 0, seconds: float = 40.0) -> None:
        """Wait until a process is ready, and is another than `not_pid`."""

        def is_back() -> bool:
            snapshot = query(DataDir.at(self.data_dir))
            assert snapshot, "the supervisor does not run"
            each = next(each for each in snapshot["processes"] if each["name"] == process)
            return bool(each["state"] == "ready" and each["pid"] != not_pid)

        until(is_back, what=f"{process} is ready again", seconds=seconds)
