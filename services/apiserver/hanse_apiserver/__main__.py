"""Entry point: `python -m hanse_apiserver --config FILE`. Only wires; see `hanse_apiserver.app`."""

from __future__ import annotations

import sys

from hanse.service.shell import run_service
from hanse_apiserver.app import serve
from hanse_apiserver.settings import ApiserverSettings


def main() -> int:
    """Run the service and return its exit status."""
    return run_service("apiserver", ApiserverSettings, serve)


if __name__ == "__main__":
    sys.exit(main())
