"""Entry point: `python -m hanse_dns --config FILE`. Only wires; see `hanse_dns.app`."""

from __future__ import annotations

import sys

from hanse.service.shell import run_service
from hanse_dns.app import serve
from hanse_dns.settings import DnsSettings


def main() -> int:
    """Run the service and return its exit status."""
    return run_service("dns", DnsSettings, serve)


if __name__ == "__main__":
    sys.exit(main())
