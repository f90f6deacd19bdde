"""The README's first page with simulated clusters, from `make run` to `make stop`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.system import script
from tests.system.harness import Federation, Simulated
from tests.system.harness.federation import FAST
from tests.system.suite.acceptance import LINES, Walk, run_line


def as_typed(tmp_path: Path) -> Federation:
    """A federation that `make run` will start, with the settings of tests in the environment."""
    federation = Federation(tmp_path / ".hanse", members=Simulated())
    federation.kubeconfig = federation.data_dir / "kubeconfig"
    for name, value in FAST.items():
        federation.environ["HANSE_" + name.replace(".", "_").upper()] = value
    federation.environ["KUBECONFIG"] = str(federation.kubeconfig)
    for name in [name for name in federation.environ if name.startswith(("MAKE", "MFLAGS"))]:
        del federation.environ[name]  # of the make that runs this
    # What tests run in is set up already; the recipe is what is tried here.
    federation.environ["MAKEFLAGS"] = "-o setup"
    federation.environ["VENV"] = os.environ.get("VENV", ".venv")
    return federation


@pytest.mark.usefixtures("kubectl")
@pytest.mark.timeout(300)
def test_the_first_page_from_make_run_to_make_stop(tmp_path: Path) -> None:
    """`make run` shows the example running; each line then shows what it should; `make stop` ends it all."""
    federation = as_typed(tmp_path)
    walk = Walk(federation)
    try:
        said = run_line(federation, script.MAKE_RUN).out
        for name in ("eu-west", "us-east", "on-prem", "web.shop.hanse.svc.eu-west.example.org"):
            assert name in said
        for line in LINES:
            walk.line(line)
        walk.lose_and_return()
        federation.close()
        run_line(federation, script.MAKE_STOP)
        assert federation.run(["hanse", "status"], check=False).status == 3
        assert not (federation.data_dir / "run" / "processes.json").exists()
    finally:
        federation.stop()


def test_no_line_is_left_out() -> None:
    """The walk runs every line of the script."""
    run_here = {
        script.MAKE_RUN,
        script.EXPORT,
        script.LOSE,
        script.RETURN,
        script.MAKE_STOP,
        script.MAKE_TEST,
    }
    assert set(script.SCRIPT) == {*LINES, *run_here}
