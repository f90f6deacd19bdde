"""What the client alone can do, and what it says of the rest."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points, packages_distributions
from pathlib import Path

import pytest
from hanse_cli import exits, plugins
from hanse_cli.main import hanse, run
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
ONLY_SERVER = {Requirement(text).name for text in EXTRAS["server"]}
BLOCKED = sorted(
    name
    for name, distributions in packages_distributions().items()
    if set(distributions) <= ONLY_SERVER and name != "opentelemetry"
)
"""What can be imported when the extra `server` is installed, and not by the client alone."""
BLOCK = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code where only what the client needs can be imported."""
    return subprocess.run([sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=False)


def called(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `hanse` with these words there."""
    return python(f"import sys\nsys.argv = ['hanse', *{words!r}]\nfrom hanse_cli.main import main\nmain()\n")


def test_the_client_imports_nothing_of_the_server() -> None:
    """Each module of the client and of the command line."""
    assert {"aiohttp", "cryptography", "uvloop", "grpc_status", "grpc_reflection"} <= set(BLOCKED)
    result = python(
        "import importlib, pkgutil, hanse_cli, hanse_client\n"
        "for package in (hanse_cli, hanse_client):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "        print(module.name)\n"
    )
    assert result.returncode == 0, result.stderr
    assert {"hanse_client.client", "hanse_cli.commands.explain"} <= set(result.stdout.split())


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["up", "--detach", "--any", "thing"], "local"),
        (["keys", "status"], "local"),
        (["init", "x", "--dry-run"], "server"),
    ],
)
def test_what_is_not_installed_is_said_in_one_line(words: list[str], extra: str) -> None:
    """With the command that installs it."""
    result = python(
        f"import sys\nsys.argv = ['hanse', *{words!r}]\nfrom hanse_cli.main import main\nmain()\n"
    )
    assert result.returncode == exits.FAILED
    assert result.stdout == ""
    assert result.stderr == (
        f"hanse: `{words[0]}` needs more than the client, which is all that is installed: "
        f"run `pip install 'hanse[{extra}]'`\n"
    )


def test_help_lists_them_all_the_same() -> None:
    """So that one finds them."""
    result = called("--help")
    assert result.returncode == 0, result.stderr
    assert "Not installed: `pip install 'hanse[local]'`." in result.stdout


def test_the_names_are_those_of_the_plug_ins() -> None:
    """What is listed without the extras is what they give."""
    for point in {*entry_points(group="hanse.commands"), *entry_points(group="kubefed.commands")}:
        _, names = plugins.OF_EXTRAS[point.value]
        assert [command.name for command in point.load()()] == list(names)


def test_a_defect_of_a_plug_in_is_a_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module of Hanse that is missing is no extra."""

    def load(point: EntryPoint) -> object:
        raise ModuleNotFoundError("No module named 'hanse_local.gone'", name="hanse_local.gone")

    monkeypatch.setattr(EntryPoint, "load", load)
    assert run(hanse, ["up"], program="hanse") == exits.DEFECT
    assert "hanse_local.gone" in capsys.readouterr().err
