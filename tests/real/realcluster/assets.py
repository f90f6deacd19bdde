"""Finds the programs of a control plane: builds the Kubernetes ones, looks for etcd.

Nothing is kept here; a build is kept by `tests/real/controlplane/build.sh`. The next module is `process`.
"""

import os
import subprocess
from pathlib import Path

from hanse_local.etcd import binary as etcd

from hanse.errors import HanseError

BUILD_SCRIPT = Path(__file__).resolve().parent.parent / "controlplane" / "build.sh"


class AssetsError(RuntimeError):
    """A program that a control plane needs is missing and could not be made."""


def build_assets() -> Path:
    """The directory with kube-apiserver and kube-controller-manager, which is built if it must be.

    The first build takes minutes and says nothing meanwhile; run the script itself to see it. Raises
    `AssetsError` with the script's one-line reason when there is no Go or a module cannot be fetched.
    """
    done = subprocess.run([BUILD_SCRIPT], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssetsError(done.stderr.strip().rpartition("\n")[2])
    return Path(done.stdout.strip().rpartition("\n")[2])


def find_etcd(assets_dir: Path) -> Path:
    """The etcd to run: `HANSE_ETCD`, else the one in `assets_dir`, else that of `hanse up`.

    Before etcd 3.5.13 an API server refuses streaming lists and serves consistent lists from etcd.
    """
    if named := os.environ.get("HANSE_ETCD"):
        return Path(named)
    if os.access(beside := assets_dir / "etcd", os.X_OK):
        return beside
    try:
        return etcd.find().path
    except HanseError as error:
        raise AssetsError(str(error)) from error
