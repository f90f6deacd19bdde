"""deploy/systemd installs Hanse on a machine: a container with a real systemd and no way to a package index.

The tests are, one after the other, what a machine goes through. Its etcd is one of the machine's units, with
TLS and rights, as an operator has it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanse.security.auth import SERVICES, service_name
from hanse.security.pki import CertificateAuthority
from hanse.store.admin.roles import ROOT as ETCD_ROOT
from tests.image.federation import NAMES
from tests.image.podman import Podman
from tests.support.stores.etcd import find_etcd

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "3.11"
"""That of the machine's Debian."""
ETCD_UNIT = """
[Service]
ExecStart=/usr/local/bin/etcd --data-dir=/var/lib/etcd --listen-client-urls=https://127.0.0.1:2379 \
  --advertise-client-urls=https://127.0.0.1:2379 --client-cert-auth --trusted-ca-file=/media/keys/ca.crt \
  --cert-file=/media/keys/server.crt --key-file=/media/keys/server.key --log-level=warn
"""
NAMES_OF_SERVER = (
    "import ssl, socket; c = ssl.create_default_context(cafile='/etc/hanse/admin/ca.crt');"
    "c.load_cert_chain('/etc/hanse/admin/admin.crt', '/etc/hanse/admin/admin.key');"
    "s = c.wrap_socket(socket.create_connection(('127.0.0.1', 6443)), server_hostname='localhost');"
    "print(s.getpeercert()['subjectAltName'])"
)
INSTALL = "/srv/systemd/install.sh /media/wheels/{} --find-links /media/wheels"


class Machine:
    """The container; each call runs a command in it as root."""

    def __init__(self, podman: Podman, container: str, wheel: str) -> None:
        self._podman, self._container = podman, container
        self.install = INSTALL.format(wheel)

    def do(self, command: str) -> str:
        """Runs a shell command and returns what it says; a failure is an error that says why."""
        return self._podman.call("exec", self._container, "sh", "-c", f"{{ {command}\n}} 2>&1", timeout=240)

    def fails(self, command: str) -> str:
        """Runs a shell command that must fail, and returns what it says."""
        return self.do(f"if {command}; then echo it did not fail; exit 1; fi")

    def hanse(self, arguments: str) -> str:
        """Runs the program `hanse` as the administrator."""
        return self.do(f"/opt/hanse/bin/hanse --config /etc/hanse/admin/client.toml {arguments}")

    def pid(self, name: str) -> int:
        """The process of a service; 0 is none."""
        return int(self.do(f"systemctl show -p MainPID --value hanse@{name}"))

    def wait_ready(self) -> None:
        """Waits until all services say that they are ready."""
        urls = " ".join(f"http://127.0.0.1:{7100 + number}/readyz" for number in range(len(NAMES)))
        program = f"import urllib.request as u; [u.urlopen(each, timeout=2) for each in '{urls}'.split()]"
        until = time.monotonic() + 90
        while self.do(f'python3 -c "{program}" >/dev/null 2>&1 && echo ready || true').strip() != "ready":
            if time.monotonic() > until:
                pytest.fail(self.do("systemctl --no-pager status 'hanse@*' || true"))
            time.sleep(0.3)


def wheels(directory: Path) -> str:
    """Hanse's wheel and those of its dependencies, for the machine's Python; returns Hanse's name."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = directory.glob("*.whl")
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    fetch += ["--only-binary=:all:", f"--python-version={PYTHON}", "--no-deps", "--require-hashes"]
    subprocess.run(
        [*fetch, "-r", "requirements.lock", "-d", str(directory)], cwd=ROOT, check=True, timeout=300
    )
    return wheel.name


def keys(directory: Path) -> None:
    """Certificates for etcd: its own, its administrator's, and one for each service."""
    authority = CertificateAuthority.create("etcd-ca")
    authority.issue_local("etcd").write(directory, "server", ca_pem=authority.ca_pem)
    authority.issue_local(ETCD_ROOT).write(directory, "root")
    for name in NAMES:
        authority.issue_local(service_name(name), organizations=(SERVICES,)).write(directory, name)


@pytest.fixture(scope="module")
def machine(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that has started, with an etcd."""
    shared = tmp_path_factory.mktemp("machine")
    podman.load("machine", "localhost/machine:test")
    wheel = wheels(shared / "wheels")
    keys(shared / "keys")
    (shared / "etcd.service").write_text(ETCD_UNIT)
    # To give services namespaces, systemd needs CAP_SYS_ADMIN; the kernel's settings stay read-only.
    container = podman.call(
        "run", "--detach", "--systemd=always", "--network=none", "--cap-add=SYS_ADMIN",
        "--security-opt=seccomp=unconfined", f"--cgroup-parent=/{podman.cgroup}",
        f"--volume={shared}:/media:ro", f"--volume={ROOT / 'deploy/systemd'}:/srv/systemd:ro",
        f"--volume={find_etcd()}:/usr/local/bin/etcd:ro",
        "localhost/machine:test", "/sbin/init",
    ).strip()  # fmt: skip
    machine = Machine(podman, container, wheel)
    machine.do(
        "for i in $(seq 100); do systemctl is-system-running >/dev/null && exit; sleep 0.3; done; exit 1"
    )
    machine.do(
        "cp /media/etcd.service /etc/systemd/system && systemctl daemon-reload && systemctl start etcd"
    )
    yield machine
    podman.call("rm", "--force", "--time=1", container)


def test_the_first_run_asks_where_etcd_is(machine: Machine) -> None:
    """Programs, users and units are there, nothing runs, and machine.toml waits to be filled in."""
    assert "Say in /etc/hanse/machine.toml where etcd is" in machine.do(machine.install)
    assert machine.pid("apiserver") == 0
    machine.do("getent passwd hanse-dns")


def test_a_mistake_is_one_line(machine: Machine) -> None:
    """A certificate that is missing, and a setting that there is not, are named, and nothing is started."""
    configure = "/opt/hanse/bin/python /opt/hanse/libexec/configure.py"
    assert "configure: /etc/hanse/etcd/ca.crt is missing" in machine.fails(configure)
    machine.do("echo 'colour = 1' >>/etc/hanse/machine.toml")
    assert "machine.toml has colour, which is not one of" in machine.fails(machine.install)
    assert machine.pid("apiserver") == 0
    machine.do("sed -i /colour/d /etc/hanse/machine.toml && cp -r /media/keys /etc/hanse/etcd")


def test_the_second_run_starts_the_federation(machine: Machine) -> None:
    """All five are ready, and an object is created and read."""
    machine.do("sed -i 's/^names = .*/names = [\"hanse.example.com\"]/' /etc/hanse/machine.toml")
    assert "KUBECONFIG=/etc/hanse/admin/kubeconfig" in machine.do(machine.install)
    machine.wait_ready()
    machine.do("printf 'apiVersion: v1\\nkind: Namespace\\nmetadata: {name: shop}\\n' >/root/shop.yaml")
    machine.hanse("apply -f /root/shop.yaml")
    assert "shop" in machine.hanse("get namespaces")


def test_each_service_is_confined(machine: Machine) -> None:
    """A user for each, who reads the keys of no other; systemd rates how exposed each is below 2 of 10."""
    users = {machine.do(f"stat -c %U /proc/{machine.pid(name)}").strip() for name in NAMES}
    assert users == {f"hanse-{name}" for name in NAMES}
    machine.do(
        "setpriv --reuid=hanse-dns --regid=hanse-dns --clear-groups cat /etc/hanse/dns/tls.key >/dev/null"
    )
    for path in ("/etc/hanse/apiserver/secrets.key", "/etc/hanse/pki/ca.key", "/etc/hanse/etcd/root.key"):
        refused = machine.fails(f"setpriv --reuid=hanse-dns --regid=hanse-dns --clear-groups cat {path}")
        assert "Permission denied" in refused
    for name in NAMES:
        text = machine.do(f"systemd-analyze security --no-pager hanse@{name}.service")
        rated = re.search(r"Overall exposure level for \S+: ([\d.]+)", text)
        assert rated is not None
        assert float(rated[1]) < 2, text


def test_a_service_that_dies_is_started_again(machine: Machine) -> None:
    """After kill -9 it is another process, and ready."""
    before = machine.pid("scheduler")
    machine.do(f"kill -9 {before}")
    until = time.monotonic() + 30
    while machine.pid("scheduler") in (0, before):
        assert time.monotonic() < until, "it is not started again"
        time.sleep(0.1)
    machine.wait_ready()


def test_certificates_are_renewed_in_place(machine: Machine) -> None:
    """The timer's unit leaves what is right, issues for names that are new, and restarts nothing."""
    files, pids = machine.do("cd /etc/hanse && sha256sum */*"), [machine.pid(name) for name in NAMES]
    machine.do("systemctl start hanse-configure")
    assert machine.do("cd /etc/hanse && sha256sum */*") == files
    machine.do("sed -i 's/hanse.example.com/other.example.com/' /etc/hanse/machine.toml")
    machine.do("systemctl start hanse-configure && systemctl is-active hanse-configure.timer")
    until = time.monotonic() + 30
    while "other.example.com" not in machine.do(f'python3 -c "{NAMES_OF_SERVER}"'):
        assert time.monotonic() < until, "it still has its old certificate"
        time.sleep(0.5)
    assert [machine.pid(name) for name in NAMES] == pids


def test_a_key_that_is_gone_is_an_error(machine: Machine) -> None:
    """It is not made again: what it has sealed could not be opened."""
    machine.do("mv /etc/hanse/pki/credentials.key /root")
    machine.fails("systemctl start hanse-configure")
    assert "credentials.key is gone: restore it" in machine.do("journalctl --no-pager -u hanse-configure")
    machine.do("mv /root/credentials.key /etc/hanse/pki && systemctl start hanse-configure")


def test_an_update_keeps_everything(machine: Machine) -> None:
    """It is installed beside the one that runs, which stays to go back to; the object is there after it."""
    before, pids = machine.do("readlink /opt/hanse"), [machine.pid(name) for name in NAMES]
    machine.do(machine.install)
    machine.wait_ready()
    assert machine.do("readlink /opt/hanse") != before
    assert before.strip() in machine.do("ls -d /opt/hanse-*").split()
    assert not {*pids} & {machine.pid(name) for name in NAMES}
    assert "shop" in machine.hanse("get namespaces")


def test_it_can_be_taken_out(machine: Machine) -> None:
    """No program, unit, process or user is left; the keys are."""
    machine.do("/srv/systemd/install.sh --remove")
    assert machine.do("ls -d /opt/hanse* /etc/systemd/system/*hanse* 2>/dev/null | cat") == ""
    assert (
        machine.do("getent passwd | grep hanse | cat; grep -lz '[h]anse_' /proc/[0-9]*/cmdline | cat") == ""
    )
    machine.do("test -s /etc/hanse/pki/credentials.key")
