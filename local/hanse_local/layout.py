"""Where everything of one local federation is: the data directory.

Owns the names of files below the data directory; nobody else joins paths. The directory is the user's
alone (0700), because keys are in it.

Concurrency: values only.

Next: `hanse_local.supervise.state` for what is remembered there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hanse.errors import ConfigError

DEFAULT = Path(".hanse")


@dataclass(frozen=True, slots=True)
class DataDir:
    """The data directory of one federation."""

    root: Path

    @classmethod
    def at(cls, path: str | Path) -> DataDir:
        """Return the data directory at `path`, made absolute. It need not exist."""
        return cls(Path(path).expanduser().absolute())

    def create(self) -> None:
        """Make the directory and its folders. Raises ConfigError if that is not possible."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(0o700)
            for folder in (self.pki, self.logs, self.run, self.config, self.clusters):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot use {self.root} as data directory: {error.strerror}; choose another with --data-dir"
            ) from error

    @property
    def state(self) -> Path:
        """Ports, clusters and options, as JSON."""
        return self.root / "state.json"

    @property
    def kubeconfig(self) -> Path:
        """For kubectl: the context `hanse` and one per simulated cluster."""
        return self.root / "kubeconfig"

    @property
    def up_config(self) -> Path:
        """Options of `hanse up` that the user wrote down; nothing writes it."""
        return self.root / "up.toml"

    @property
    def client_config(self) -> Path:
        """For `hanse` and `hanse_client`."""
        return self.root / "client.toml"

    @property
    def pki(self) -> Path:
        """Authority and certificates of the mesh."""
        return self.root / "pki"

    @property
    def etcd_pki(self) -> Path:
        """Authority and certificates of the federation's etcd: another than the mesh's, so that a user's
        certificate opens no etcd."""
        return self.pki / "etcd"

    @property
    def members_pki(self) -> Path:
        """Authority and certificates of the simulated clusters' etcd."""
        return self.pki / "members-etcd"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """What is true only while the federation runs."""
        return self.root / "run"

    @property
    def config(self) -> Path:
        """Configuration files of the processes."""
        return self.root / "config"

    @property
    def clusters(self) -> Path:
        """Kubeconfigs and keys of the simulated clusters."""
        return self.root / "clusters"

    @property
    def credentials_key(self) -> Path:
        """Key that seals the members' credentials."""
        return self.pki / "credentials.key"

    @property
    def secrets_key(self) -> Path:
        """Key that seals Secrets in etcd."""
        return self.pki / "secrets.key"

    @property
    def deny_list(self) -> Path:
        """Certificates that were revoked."""
        return self.pki / "denied"

    @property
    def overlap(self) -> Path:
        """While authorities are replaced: which, and until when the old ones count."""
        return self.pki / "overlap.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.run / "lock"

    @property
    def supervisor(self) -> Path:
        """Who supervises, and at which socket it listens."""
        return self.run / "supervisor.json"

    @property
    def processes(self) -> Path:
        """The processes that the supervisor started, for whoever finds them after a crash."""
        return self.run / "processes.json"

    @property
    def failure(self) -> Path:
        """Why the last start failed."""
        return self.run / "failure.json"

    def etcd(self, name: str) -> Path:
        """Return data of the etcd called `name`."""
        return self.root / name

    def log(self, name: str) -> Path:
        """Log of the process called `name`."""
        return self.logs / f"{name}.log"

    def ready_file(self, name: str) -> Path:
        """Written by the process called `name` when it serves."""
        return self.run / f"{name}.json"

    def config_file(self, name: str) -> Path:
        """Return configuration of the process called `name`."""
        return self.config / f"{name}.toml"

    def cluster_kubeconfig(self, name: str) -> Path:
        """Kubeconfig of the simulated cluster `name`."""
        return self.clusters / f"{name}.kubeconfig"
