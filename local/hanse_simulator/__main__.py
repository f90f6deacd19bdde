"""Entry point: `python -m hanse_simulator --config FILE`. Only wires; see `hanse_simulator.app`."""

from __future__ import annotations

import sys

from hanse.service.runtime import run
from hanse_simulator.app import serve
from hanse_simulator.settings import SimulatorSettings


def main() -> int:
    """Run the cluster and return the exit status."""
    return run("simulator", SimulatorSettings, serve)


if __name__ == "__main__":
    sys.exit(main())
