"""Entry point: `python -m hanse_registry --config FILE`. Only wires; see `hanse_registry.app`."""

from __future__ import annotations

import sys

from hanse.service.shell import run_service
from hanse_registry.app import serve
from hanse_registry.settings import RegistrySettings


def main() -> int:
    """Run the service and return its exit status."""
    return run_service("registry", RegistrySettings, serve)


if __name__ == "__main__":
    sys.exit(main())
