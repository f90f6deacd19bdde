"""When credentials end, by what they say of themselves.

Owns the reading of certificates and of JSON Web Tokens. Pure functions.

Next: `hanse.service.expiry`, `hanse_registry.member.credentials` and `hanse_cli.issued`, which ask.
"""

from __future__ import annotations

import base64
import json
import ssl
from typing import Final

from hanse.security.subject import subject_of_der

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_LAST: Final = 253402300799.0
"""The last second of the year 9999: what ends later lasts, and no date can say when it ends."""


def ends_of(pem: str) -> list[float]:
    """Return when the certificates of a PEM file end, in seconds since the epoch. Raises ValueError."""
    blocks = [f"{_BEGIN}{part.partition(_END)[0]}{_END}\n" for part in pem.split(_BEGIN)[1:]]
    return [subject_of_der(ssl.PEM_cert_to_DER_cert(block))[2] for block in blocks]


def end_of_token(token: str) -> float | None:
    """Return when a bearer token ends, in seconds since the epoch; None if it lasts, or does not say.

    A JSON Web Token says so (RFC 7519, claim `exp`), as Kubernetes' own are; other tokens are opaque.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        end = float(claims["exp"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return max(end, 0.0) if end <= _LAST else None
