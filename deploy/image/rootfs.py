"""Writes the root file system of the image, without Hanse and its dependencies, to /out/root.

It has the Python that runs this, the shared libraries that Python and the wheels in /out/dependencies load,
the certificate authorities, and the few files of /etc that the C library reads. What belongs to a Debian
package is recorded, with its copyright file, in /var/lib/dpkg/status.d, where scanners look for it.

Next: `sbom`, which lists what is in the image; `normalize`, which makes all of it the same every time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

OUT = Path("/out/root")
WHEELS = Path("/out/dependencies")
LIBRARY = Path(os.__file__).parent
DPKG = Path("/var/lib/dpkg")
USER = "65532"

LEFT_OUT = {
    *("test", "idlelib", "turtledemo", "turtle.py", "tkinter", "lib2to3", "ensurepip", "pydoc_data"),
    *("site-packages", "dist-packages", "__pycache__", "EXTERNALLY-MANAGED"),
    *("sqlite3", "dbm", "curses"),
}
"""Parts of the standard library that no service uses; those of the last line would each bring a library."""
LEFT_OUT_EXTENSIONS = re.compile(r"_?(test|xx|ctypes_test|tkinter|sqlite3|dbm|gdbm|curses|readline)")
DATA = (
    "/etc/debian_version",
    "/etc/os-release",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/openssl.cnf",
    "/usr/lib/ssl/cert.pem",
    "/usr/lib/ssl/certs",
    "/usr/lib/ssl/openssl.cnf",
)
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
FOLDERS = ("dev", "proc", "run", "sys", "tmp", "usr/bin", "usr/lib64", "usr/sbin")
TEXTS = {
    "etc/passwd": f"root:x:0:0:root:/:/nonexistent\nhanse:x:{USER}:{USER}:Hanse:/nonexistent:/nonexistent\n",
    "etc/group": f"root:x:0:\nhanse:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
}


def canonical(path: Path) -> Path:
    """Return the path with all links of its folders followed, but not the file's own."""
    return path.parent.resolve() / path.name


def with_targets(path: Path) -> Iterator[Path]:
    """Yield the path, and what it is a link to, one after the other."""
    while True:
        path = canonical(path)
        yield path
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()


def standard_library() -> Iterator[Path]:
    """Yield the files of Python: its programs, its modules, its extensions."""
    for name in ("python3", Path(sys.executable).resolve().name):
        yield from with_targets(Path(sys.base_prefix) / "bin" / name)
    for folder, folders, names in os.walk(LIBRARY):
        below = Path(folder)
        top = below == LIBRARY
        kept = [each for each in sorted(folders) if each != "__pycache__" and not (top and each in LEFT_OUT)]
        folders[:] = [each for each in kept if not each.startswith("config-")]
        for name in sorted(names):
            extension = below.name == "lib-dynload" and LEFT_OUT_EXTENSIONS.match(name)
            if not (extension or (top and name in LEFT_OUT)) and (below / name).exists():
                yield from with_targets(below / name)


def loaded(files: Iterable[Path]) -> Iterator[Path]:
    """Yield the shared libraries of the system that these programs and libraries load, and the loader."""
    wanted = [str(path) for path in files if path.is_file() and path.open("rb").read(4) == b"\x7fELF"]
    listed = subprocess.run(["ldd", *wanted], capture_output=True, text=True, check=True).stdout
    if missing := sorted(set(re.findall(r"(\S+) => not found", listed))):
        sys.exit(f"the base lacks {', '.join(missing)}")
    for text in sorted(set(re.findall(r"^\s(?:\S+ => )?(/\S+) \(0x", listed, re.MULTILINE))):
        if not Path(text).is_relative_to(WHEELS):
            yield from with_targets(Path(text))


def owners() -> dict[str, str]:
    """Return the package of each file, as Debian's name:architecture or name."""
    found: dict[str, str] = {}
    for listing in sorted((DPKG / "info").glob("*.list")):
        for line in listing.read_text().splitlines():
            found[str(canonical(Path(line)))] = listing.stem
    return found


def copy(path: Path) -> None:
    """Copy one file or link."""
    target = OUT / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(target):
        shutil.copy2(path, target, follow_symlinks=False)


def record(packages: Iterable[str]) -> None:
    """Write what dpkg knows of these packages, and their copyright files."""
    stanzas = (DPKG / "status").read_text().strip().split("\n\n")
    known: dict[str, str] = {}
    for stanza in stanzas:
        fields = dict(re.findall(r"^(Package|Architecture): (.*)$", stanza, re.MULTILINE))
        known[fields["Package"]] = known[f"{fields['Package']}:{fields['Architecture']}"] = stanza
    folder = OUT / "var/lib/dpkg/status.d"
    folder.mkdir(parents=True)
    for package in sorted(packages):
        name = package.partition(":")[0]
        (folder / name).write_text(f"{known[package]}\n")
        copyright_file = Path("/usr/share/doc") / name / "copyright"
        if copyright_file.exists():
            target = OUT / copyright_file.relative_to("/")
            target.parent.mkdir(parents=True)
            shutil.copyfile(copyright_file, target)


def main() -> None:
    """Write it."""
    for folder in FOLDERS:
        (OUT / folder).mkdir(parents=True, exist_ok=True)
    for name, target in LINKS.items():
        (OUT / name).symlink_to(target)
    files = {*standard_library()}
    files |= {*loaded([*sorted(files), *sorted(WHEELS.rglob("*.so*"))])}
    files |= {each for name in DATA if os.path.lexists(name) for each in with_targets(Path(name))}
    for path in sorted(files):
        if path.is_dir():
            (OUT / path.relative_to("/")).mkdir(parents=True, exist_ok=True)
        else:
            copy(path)
    for name, text in TEXTS.items():
        (OUT / name).write_text(text)
    belongs = owners()
    record(
        {"ca-certificates"}
        | {belongs[str(path)] for path in files if str(path) in belongs and not path.is_dir()}
    )
    for path in (Path("/etc/ld.so.conf"), *sorted(Path("/etc/ld.so.conf.d").glob("*.conf"))):
        copy(path)
    subprocess.run(["ldconfig", "-X", "-r", OUT], check=True)
    shutil.rmtree(OUT / "var/cache", ignore_errors=True)  # what ldconfig remembers, with times
    (OUT / "tmp").chmod(0o1777)


if __name__ == "__main__":
    main()
