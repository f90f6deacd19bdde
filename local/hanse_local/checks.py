"""What is wrong with what a user asks of `hanse up`, found before anything is made or started.

Owns the rules that need no data directory. What must fit the data directory is checked by
`hanse_local.federation`, which applies these rules to what the directory remembers too.

Concurrency: none; pure.

Next: `hanse_local.federation`.
"""

from __future__ import annotations

from hanse.errors import ConfigError
from hanse.settings import ServiceSettings
from hanse_local import ports
from hanse_local.options import Options
from hanse_local.topology import default_clusters

_SETTINGS = ("federation_name", "dns_suffix")
"""Options that are a setting of every process, and are judged as such."""


def check_options(options: Options) -> None:
    """Raises ConfigError for an option that is wrong whatever is in the data directory."""
    if options.clusters is not None:
        try:
            default_clusters(options.clusters)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    ports.check_given(options.ports)
    given = {name: getattr(options, name) for name in _SETTINGS}
    ServiceSettings(**{name: value for name, value in given.items() if value}).validate()
