"""The tokens of ServiceAccounts: JSON Web Tokens that the cluster signs (ES256).

Owns the key, a file in `pki_dir`, so that tokens stay good over restarts, and the claims. Whether the account
is still there is not told by a token: `hanse_simulator.access.accounts` looks.

Pure computation after the start. Next: `hanse_simulator.access.accounts`.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from hanse.errors import ConfigError, UnauthenticatedError
from hanse.security.pki import write_private

ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
KEY_FILE: Final = "sa.key"
_HEADER: Final = {"alg": "ES256", "typ": "JWT"}
_SIDE: Final = 32  # bytes of each of the two numbers of a P-256 signature


@dataclass(frozen=True, slots=True)
class AccountToken:
    """What a token says. Times are in seconds since the epoch; a token without an end lasts."""

    namespace: str
    name: str
    uid: str
    issued: int
    expires: int | None = None
    audiences: tuple[str, ...] = (ISSUER,)
    secret: str = ""
    """Name of the Secret that it is in, which it ends with; empty for one of a TokenRequest."""

    @property
    def subject(self) -> str:
        """The name of the user that it is of."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"


class TokenAuthority:
    """Signs tokens and reads them."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def load_or_create(cls, directory: Path) -> TokenAuthority:
        """Read the key in `directory`, which is made if it is missing. Raises ConfigError."""
        path = directory / KEY_FILE
        try:
            if not path.exists():
                key = ec.generate_private_key(ec.SECP256R1())
                write_private(
                    path,
                    key.private_bytes(
                        serialization.Encoding.PEM,
                        serialization.PrivateFormat.PKCS8,
                        serialization.NoEncryption(),
                    ),
                )
            found = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot use the key of tokens {path}: {error}") from error
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"the key of tokens {path} must be an EC key: delete it, and another is made")
        return cls(found)

    def sign(self, token: AccountToken) -> str:
        """Return the token as its bearer sends it."""
        account = {"name": token.name, "uid": token.uid}
        bound: dict[str, Any] = {"namespace": token.namespace, "serviceaccount": account}
        if token.secret:
            bound["secret"] = {"name": token.secret}
        claims: dict[str, Any] = {
            "aud": list(token.audiences),
            "iat": token.issued,
            "nbf": token.issued,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "sub": token.subject,
            "kubernetes.io": bound,
        }
        if token.expires is not None:
            claims["exp"] = token.expires
        signed = b".".join(_encode(orjson.dumps(part)) for part in (_HEADER, claims))
        r, s = utils.decode_dss_signature(self._key.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(_SIDE, "big") + s.to_bytes(_SIDE, "big")
        return (signed + b"." + _encode(signature)).decode()

    def read(self, text: str) -> AccountToken:
        """Return what a token of this cluster says. Raises UnauthenticatedError for any other."""
        signed, _, signature = text.rpartition(".")
        try:
            raw = _decode(signature)
            numbers = (int.from_bytes(raw[:_SIDE], "big"), int.from_bytes(raw[_SIDE:], "big"))
            self._key.public_key().verify(
                utils.encode_dss_signature(*numbers), signed.encode(), ec.ECDSA(hashes.SHA256())
            )
            claims = orjson.loads(_decode(signed.partition(".")[2]))
        except (InvalidSignature, ValueError) as error:
            raise UnauthenticatedError("Unauthorized") from error
        bound = claims["kubernetes.io"]
        return AccountToken(
            namespace=bound["namespace"],
            name=bound["serviceaccount"]["name"],
            uid=bound["serviceaccount"]["uid"],
            issued=claims["iat"],
            expires=claims.get("exp"),
            audiences=tuple(claims["aud"]),
            secret=(bound.get("secret") or {}).get("name", ""),
        )


def _encode(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def _decode(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from error
