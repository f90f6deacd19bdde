"""Entry point: `python -m hanse_syncer --config FILE`. Only wires; see `hanse_syncer.app`."""

from __future__ import annotations

import sys

from hanse.service.shell import run_service
from hanse_syncer.app import serve
from hanse_syncer.settings import SyncerSettings


def main() -> int:
    """Run the service and return its exit status."""
    return run_service("syncer", SyncerSettings, serve)


if __name__ == "__main__":
    sys.exit(main())
