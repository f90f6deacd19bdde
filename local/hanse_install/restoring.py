"""A federation out of a backup, in a host cluster that has none: `kubefed init --restore-from`.

Owns the way of etcd's data onto the volumes: each member's is made here by `etcdutl`, and streamed into its
new volume through a Pod that holds it, before the StatefulSet is there, which then takes the volumes by their
names. The revision is raised above all that was served before (`hanse_local.backup.restoring`). What was made
is removed if it fails. Volumes that are not filled yet say so, and no run continues with them: a member of
etcd that begins with an empty one would join those that have data, and answer for them.

Concurrency: synchronous; one member after the other.

Next: `hanse_install.installing`, which goes on from there as always.
"""

from __future__ import annotations

import contextlib
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hanse_local.backup.commands import VARIABLE, read_secret
from hanse_local.backup.manifest import FILES, EtcdPart
from hanse_local.backup.manifest import BackupManifest as Content
from hanse_local.backup.reading import Backup
from hanse_local.backup.restoring import make_member, raises_revision, tool_among, tools
from hanse_local.etcd import binary as etcd
from hanse_local.keys.certificates import ETCD

from hanse.errors import ConfigError, DataLossError, FailedPreconditionError, HanseError
from hanse.installation import KEYS as SECRET_KEYS
from hanse.security.pki import write_private
from hanse.security.subject import certificates_of
from hanse_install import keys
from hanse_install.backups import KEY, KEYS, RECORD, STATEFUL_SET
from hanse_install.kubectl import Kubectl, Manifest

HOLDER: Final = "etcd-restore"
"""Component of the Pods that hold the volumes meanwhile."""
RESTORING: Final = "hanse.dev/restoring"
"""Annotation of a volume that does not have all of its data yet."""
_MOUNT: Final = "/var/lib/etcd"
_RECEIVE: Final = f"""
import os, sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
    tar.extractall("{_MOUNT}", filter="data")
os.sync()
print("received")
"""
_TRANSFER_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class RestoredVolumes:
    """What of a backup is needed, out of its file."""

    content: Content
    files: Mapping[str, bytes]
    """By their names."""
    folder: str
    """Where in the backup the directory of keys is."""
    snapshot: Path
    etcd: EtcdPart

    @property
    def options(self) -> Mapping[str, Any]:
        """The flags of the installation that was backed up; none are known of a backup by its CronJob."""
        try:
            record = json.loads(self.files.get(RECORD, b"{}"))
            said: dict[str, Any] = json.loads(record.get("data", {}).get("options", "{}"))
        except (ValueError, AttributeError) as error:
            raise DataLossError(f"{RECORD} in the backup cannot be understood: {error}") from error
        return said

    @property
    def keys(self) -> dict[str, bytes]:
        """Authorities, certificates and keys, by their names in the directory."""
        prefix = f"{self.folder}/"
        return {
            name.removeprefix(prefix): text for name, text in self.files.items() if name.startswith(prefix)
        }


@contextlib.contextmanager
def opened(
    file: Path, directory: Path, *, passphrase_file: Path | None, key_file: Path | None
) -> Iterator[RestoredVolumes]:
    """Provide the content of a backup, for as long as the block lasts. Raises HanseError if it cannot be
    used.
    """
    own = directory / KEY
    if passphrase_file is None and key_file is None and not os.environ.get(VARIABLE) and own.is_file():
        key_file = own
    secret = read_secret(passphrase_file, key_file, new=False)
    with tempfile.TemporaryDirectory(prefix="kubefed-") as scratch_folder:
        with Backup(file, secret) as backup:
            content = backup.manifest
            files: dict[str, bytes] = {}
            for part in content.files:
                scratch = Path(scratch_folder, "file")
                backup.copy(part, scratch)
                files[part.name.removeprefix(f"{FILES}/")] = scratch.read_bytes()
                scratch.unlink()
            own_etcd = next((each for each in content.etcds if each.name == ETCD), None)
            folders = [name.rpartition("/")[0] for name in files if name.endswith("/credentials.key")]
            if own_etcd is None or not folders:
                raise FailedPreconditionError(
                    f"{file} is no backup of an installation in a host cluster: restore one of `hanse up` "
                    "with `hanse restore`"
                )
            snapshot = Path(scratch_folder, "snapshot.db")
            for each in content.etcds:
                backup.copy(each.file, snapshot if each is own_etcd else None)
        yield RestoredVolumes(content, files, KEYS if KEYS in folders else folders[0], snapshot, own_etcd)


def check(
    kubectl: Kubectl, restored: RestoredVolumes, manifests: Iterable[Manifest], directory: Path
) -> None:
    """Raise HanseError unless the backup can be restored to the host cluster, and the directory of keys."""
    workload = _stateful_set(manifests)
    if workload is None:
        raise FailedPreconditionError(
            "--restore-from makes an etcd in the host cluster: restore one of yours by etcdutl, then run "
            "init without it (docs/install.md, From a backup)"
        )
    if not workload["spec"].get("volumeClaimTemplates"):
        raise ConfigError("--restore-from needs volumes: omit --etcd-persistent-storage=false")
    _tool(restored)
    namespace = workload["metadata"]["namespace"]
    names = {each["metadata"]["name"] for each in claims(workload)}
    there = kubectl.items("persistentvolumeclaims", "-n", namespace)
    taken = sorted(names & {each["metadata"]["name"] for each in there})
    if taken:
        raise FailedPreconditionError(
            f"namespace {namespace} of the host cluster has the volumes {', '.join(taken)} already, and "
            "a restore overwrites nothing: if an earlier run has restored them, run init without "
            "--restore-from; else remove them first (kubefed deinit --delete-data)"
        )
    for file in SECRET_KEYS.values():
        path = directory / file
        if path.exists() and not keys.share_a_key(path.read_bytes(), restored.keys.get(file, b"")):
            raise FailedPreconditionError(
                f"{path} is another key than that of the backup: name another directory with --keys-directory"
            )
    theirs = map(keys.digest, certificates_of(restored.keys.get("ca.crt", b"")))
    if keys.authority(directory) and "ca.crt" in restored.keys and keys.digests(directory).isdisjoint(theirs):
        raise FailedPreconditionError(
            f"{directory} has another authority than the backup: name another with --keys-directory"
        )


def write_keys(restored: RestoredVolumes, directory: Path) -> None:
    """Put what the backup has of authorities, certificates and keys into the directory; nothing that is
    there is replaced. A ring that was rotated since gets the keys of the backup behind its own: all open."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, content in restored.keys.items():
        path = directory / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(path, content)
        elif name in SECRET_KEYS.values():
            ours = path.read_bytes().split()
            if more := [each for each in content.split() if each not in ours]:
                write_private(path, b"\n".join([*ours, *more]) + b"\n")


def check_finished(kubectl: Kubectl, namespace: str) -> None:
    """Raise FailedPreconditionError if a restore of this namespace was cut off."""
    begun = [
        each["metadata"]["name"]
        for each in kubectl.items("persistentvolumeclaims", "-n", namespace)
        if RESTORING in each["metadata"].get("annotations", {})
    ]
    if begun:
        raise FailedPreconditionError(
            f"a restore to namespace {namespace} was cut off, and the volumes {', '.join(sorted(begun))} do "
            "not have all of their data: take it out (kubefed deinit --force --delete-data), and run it again"
        )


def fill(
    kubectl: Kubectl,
    restored: RestoredVolumes,
    manifests: Iterable[Manifest],
    *,
    say: Callable[[str], None],
    seconds: float,
) -> None:
    """Make the volumes of etcd with what the backup has. Raises HanseError; what is filled in part is removed
    then, and where that fails too it is said, and no other run takes it."""
    every = list(manifests)
    workload = _stateful_set(every)
    if workload is None:
        raise ConfigError("the manifests have no StatefulSet of etcd")
    image = next(_images(every))
    volumes, pods = claims(workload), holders(workload, image)
    try:
        kubectl.apply([*claims(workload, unfinished=True), *pods])
        _wait(kubectl, pods, seconds)
        for number, pod in enumerate(pods):
            say(f"  restores member {number + 1} of {len(pods)}")
            _send(kubectl, restored, every, pod)
        kubectl.apply(volumes)
    except BaseException:
        for made in (pods, volumes):
            try:
                kubectl.delete(made, seconds=60)
            except HanseError as error:
                say(f"warning: what the restore has made stays: {error.message}")
        raise
    kubectl.delete(pods, seconds=seconds)


def claims(workload: Manifest, *, unfinished: bool = False) -> list[Manifest]:
    """Return the volumes of the members, as the StatefulSet would make them."""
    annotations = {"annotations": {RESTORING: "true"}} if unfinished else {}
    (template,) = workload["spec"]["volumeClaimTemplates"]
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": f"{template['metadata']['name']}-{name}",
                "namespace": workload["metadata"]["namespace"],
                "labels": dict(workload["spec"]["selector"]["matchLabels"]),
                **annotations,
            },
            "spec": template["spec"],
        }
        for name in members(workload)
    ]


def members(workload: Manifest) -> list[str]:
    """Return the names of etcd's members, which are those of its Pods."""
    return [f"{workload['metadata']['name']}-{number}" for number in range(workload["spec"]["replicas"])]


def holders(workload: Manifest, image: str) -> list[Manifest]:
    """Pods that hold the volumes, on the nodes on which the members may run, each on another."""
    spec, labels = workload["spec"]["template"]["spec"], {"app.kubernetes.io/component": HOLDER}
    own, seconds = spec["containers"][0], _TRANSFER_SECONDS * len(members(workload))
    kept = ("securityContext", "nodeSelector", "tolerations", "serviceAccountName", "priorityClassName")
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-restore",
                "namespace": workload["metadata"]["namespace"],
                "labels": labels,
            },
            "spec": {
                **{key: spec[key] for key in kept if key in spec},
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "topologySpreadConstraints": [
                    {**each, "labelSelector": {"matchLabels": labels}}
                    for each in spec.get("topologySpreadConstraints", ())
                ],
                "containers": [
                    {
                        "name": "hanse",
                        "image": image,
                        "imagePullPolicy": own["imagePullPolicy"],
                        "command": ["python", "-c", f"import time; time.sleep({seconds:.0f})"],
                        "resources": own["resources"],
                        "securityContext": own["securityContext"],
                        "volumeMounts": [{"name": "data", "mountPath": _MOUNT}],
                    }
                ],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": f"data-{name}"}}],
            },
        }
        for name in members(workload)
    ]


def _wait(kubectl: Kubectl, pods: Iterable[Manifest], seconds: float) -> None:
    for pod in pods:
        kubectl.run(
            "wait",
            f"pod/{pod['metadata']['name']}",
            "-n",
            pod["metadata"]["namespace"],
            "--for=condition=Ready",
            f"--timeout={seconds:.0f}s",
            seconds=seconds + 30,
        )


def _send(kubectl: Kubectl, restored: RestoredVolumes, manifests: list[Manifest], pod: Manifest) -> None:
    """Make a member's data and stream it into the volume that a Pod holds."""
    name = pod["metadata"]["name"].removesuffix("-restore")
    data, said = _data_directory(manifests)
    cluster = said["ETCD_INITIAL_CLUSTER"]
    url = dict(each.partition("=")[::2] for each in cluster.split(","))[name]
    with tempfile.TemporaryDirectory(prefix="kubefed-") as folder, tempfile.TemporaryFile() as packed:
        made = Path(folder, data)
        make_member(
            _tool(restored),
            restored.snapshot,
            made,
            name=name,
            peer_url=url,
            cluster=cluster,
            token=said["ETCD_INITIAL_CLUSTER_TOKEN"],
        )
        with tarfile.open(fileobj=packed, mode="w|") as tar:
            tar.add(made, data, filter=_anonymous)
        packed.seek(0)
        answer = kubectl.feed(
            "exec",
            "-i",
            "-n",
            pod["metadata"]["namespace"],
            f"pod/{pod['metadata']['name']}",
            "--",
            "python",
            "-c",
            _RECEIVE,
            file=packed,
            seconds=_TRANSFER_SECONDS,
        )
    if "received" not in answer:
        raise DataLossError(f"Pod {pod['metadata']['name']} has not received all of etcd's data: try again")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _data_directory(manifests: Iterable[Manifest]) -> tuple[str, Mapping[str, str]]:
    """Return the name of the data directory on the volume, and the settings of etcd."""
    said: dict[str, str] = next(
        each["data"]
        for each in manifests
        if each["kind"] == "ConfigMap" and "ETCD_INITIAL_CLUSTER" in each.get("data", {})
    )
    return said["ETCD_DATA_DIR"].removeprefix(f"{_MOUNT}/"), said


def _stateful_set(manifests: Iterable[Manifest]) -> Manifest | None:
    return next(
        (
            each
            for each in manifests
            if each["kind"] == "StatefulSet" and each["metadata"]["name"] == STATEFUL_SET
        ),
        None,
    )


def _images(manifests: Iterable[Manifest]) -> Iterator[str]:
    """Yield the image of the services, which has Python."""
    for each in manifests:
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"]["containers"][0]["image"]


def _tool(restored: RestoredVolumes) -> Path:
    """Return the `etcdutl` for the snapshot. Raises ConfigError if there is none of its minor version."""
    version = etcd.parse_version(restored.etcd.version)
    found = tool_among(tools(), version)
    if found is not None and raises_revision(found):
        return found
    raise ConfigError(
        f"the backup is of etcd {restored.etcd.version}, and there is no etcdutl {version[0]}.{version[1]} "
        "here that can raise the revision: put the one of that release on PATH, or, for 3.5, run `hanse etcd "
        "install`"
    )
