"""Names of clusters in requests: read strictly, so that a mistake is not taken for a cluster that is missing.

Every method takes `clusters/CLUSTER` but JoinCluster, which takes a new CLUSTER alone. Pure functions. Next:
`hanse_registry.service`.
"""

from __future__ import annotations

import re

from hanse.errors import InvalidArgumentError

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def check_id(cluster: str, *, field: str) -> str:
    """Return the short name of a cluster. Raises InvalidArgumentError unless it is a DNS label (RFC 1123)."""
    if not _LABEL.fullmatch(cluster):
        raise InvalidArgumentError(
            f"{field} {cluster!r} is no name for a cluster: "
            "use lower case letters, digits and '-', at most 63",
            metadata={"field": field},
        )
    return cluster


def parse_name(name: str, *, field: str = "name", child: str = "") -> str:
    """Return the cluster in `clusters/CLUSTER`, followed by `/child` if that is given.

    Raises InvalidArgumentError for anything else.
    """
    cluster, *below = name.removeprefix("clusters/").split("/")
    if not name.startswith("clusters/") or below != ([child] if child else []):
        wanted = "/".join(filter(None, ("clusters/CLUSTER", child)))
        raise InvalidArgumentError(f"{field} {name!r} is not of the form {wanted}", metadata={"field": field})
    return check_id(cluster, field=field)
