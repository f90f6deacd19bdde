"""Entry point: `python -m hanse_scheduler --config FILE`. Only wires; see `hanse_scheduler.app`."""

from __future__ import annotations

import sys

from hanse.service.shell import run_service
from hanse_scheduler.app import serve
from hanse_scheduler.settings import SchedulerSettings


def main() -> int:
    """Run the service and return its exit status."""
    return run_service("scheduler", SchedulerSettings, serve)


if __name__ == "__main__":
    sys.exit(main())
