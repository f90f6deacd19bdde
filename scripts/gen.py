"""Generates ``src/hanse/api`` from ``protos/``.

Run it after every change of a contract: ``.venv/bin/python scripts/gen.py``. A test runs it with
``--check`` and fails if the committed code differs. The proto package equals the Python package, so nothing
is patched except that every generated folder gets an empty ``__init__.py``.

``--lint`` compares the contracts with those of the last release too, ``protos/baseline.binpb``: what that
release has stored or says must still mean the same. ``--release`` makes the contracts of now that baseline.
``--clients FOLDER`` generates clients in Go, TypeScript and Java into it, by ``buf.gen.yaml``.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
BASELINE = PROTOS / "baseline.binpb"
"""The contracts of the last release."""
TARGET = ROOT / "src" / "hanse" / "api"
DESCRIBED = "contracts.binpb"
"""The contracts with their comments, for reflection (`hanse.rpc.reflection`)."""
IMPORTED = ("annotations", "client", "field_behavior", "http", "launch_stage", "resource")
"""What the contracts import of google/api, and what that imports; googleapis-common-protos has it."""
PLUGINS = ("protoc-gen-go", "protoc-gen-go-grpc", "protoc-gen-es", "protoc", "grpc_java_plugin")
"""What generates clients in other languages."""


def generate(target: Path) -> None:
    """Write the generated code to `target`, a folder that becomes the package ``hanse.api``."""
    sources = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    includes = [str(PROTOS), str(files("grpc_tools") / "_proto"), sysconfig.get_paths()["purelib"]]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with tempfile.TemporaryDirectory() as scratch:
        status = protoc.main(
            [
                "protoc",
                *(f"-I{include}" for include in includes),
                f"--python_out={scratch}",
                f"--grpc_python_out={scratch}",
                f"--mypy_out=quiet:{scratch}",
                f"--mypy_grpc_out=quiet,only_async:{scratch}",
                f"--descriptor_set_out={Path(scratch) / DESCRIBED}",
                "--include_source_info",
                *sources,
            ]
        )
        if status != 0:
            raise SystemExit(status)
        (target / DESCRIBED).write_bytes((Path(scratch) / DESCRIBED).read_bytes())
        generated = Path(scratch) / "hanse" / "api"
        for old in target.rglob("*"):
            if old.is_file() and old.suffix in {".py", ".pyi"}:
                old.unlink()
        for source in sorted(generated.rglob("*.py*")):
            relative = source.relative_to(generated)
            if relative.name.endswith(("_pb2_grpc.py", "_pb2_grpc.pyi")) and not has_service(relative):
                continue
            copy = target / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
        for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
            if folder.name != "__pycache__":
                (folder / "__init__.py").touch()


@contextmanager
def workspace() -> Iterator[Path]:
    """Provide a folder for buf: the protos, and beside them those of google/api that they import."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copy(ROOT / "buf.yaml", folder)
        shutil.copytree(PROTOS, folder / "protos")
        (folder / "googleapis" / "google" / "api").mkdir(parents=True)
        for name in IMPORTED:
            imported = Path("google") / "api" / f"{name}.proto"
            shutil.copy(Path(sysconfig.get_paths()["purelib"]) / imported, folder / "googleapis" / imported)
        yield folder


def buf(folder: Path, *words: str) -> int:
    """Run buf in a workspace; returns its exit status."""
    program = Path(sys.executable).parent / "buf"
    return subprocess.run([program, *words], cwd=folder, check=False).returncode


def lint() -> int:
    """Run ``buf lint`` and ``buf breaking`` against the last release; returns the exit status."""
    with workspace() as folder:
        against = ("--against", str(BASELINE), "--exclude-imports")
        return buf(folder, "lint") or buf(folder, "breaking", "protos", *against)


def clients(folder: Path) -> int:
    """Generate clients in other languages below `folder`; returns the exit status of buf.

    Each plugin of ``buf.gen.yaml`` must be on PATH, and protoc, which makes the messages of Java.
    """
    missing = [name for name in PLUGINS if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"not on PATH: {', '.join(missing)}: run `make clients`, which says what it needs")
    with workspace() as scratch:
        shutil.copy(ROOT / "buf.gen.yaml", scratch)
        kubernetes_own = ("--exclude-path", "protos/hanse/api/kms")
        return buf(scratch, "generate", "protos", *kubernetes_own, "--output", str(folder.resolve()))


def release() -> int:
    """Make the contracts of now those of the last release; returns the exit status."""
    with workspace() as folder:
        return buf(folder, "build", "protos", "--exclude-source-info", "--output", str(BASELINE))


def has_service(generated: Path) -> bool:
    """Return whether the proto file behind a generated ``_pb2_grpc`` file defines a service."""
    stem = generated.name.split("_pb2_grpc")[0]
    source = PROTOS / "hanse" / "api" / generated.parent / f"{stem}.proto"
    return any(line.startswith("service ") for line in source.read_text().splitlines())


def differences(left: Path, right: Path) -> list[str]:
    """Relative paths of the generated files that are not the same in both folders."""
    names = {
        str(path.relative_to(side))
        for side in (left, right)
        for path in side.rglob("*")
        if path.suffix in {".py", ".pyi", ".binpb"}
    }
    return sorted(
        name
        for name in names
        if not ((left / name).is_file() and (right / name).is_file())
        or not filecmp.cmp(left / name, right / name, shallow=False)
    )


def main() -> None:
    """Generate in place, with ``--check`` compares and exits 1 on a difference; the rest is above."""
    if sys.argv[1:] == ["--lint"]:
        raise SystemExit(lint())
    if sys.argv[1:] == ["--release"]:
        raise SystemExit(release())
    if len(sys.argv) == 3 and sys.argv[1] == "--clients":
        raise SystemExit(clients(Path(sys.argv[2])))
    if sys.argv[1:] == ["--check"]:
        with tempfile.TemporaryDirectory() as scratch:
            generate(Path(scratch))
            changed = differences(Path(scratch), TARGET)
        if changed:
            raise SystemExit(f"src/hanse/api differs from protos/: {', '.join(changed)}: run scripts/gen.py")
        return
    generate(TARGET)


if __name__ == "__main__":
    main()
