"""Sealing of member credentials: AES-256-GCM with keys of a ring.

Owns the envelope in `credentials/<cluster>`. The cluster's name is authenticated with each secret, so that a
sealed value cannot be moved to another cluster. The first key of the ring seals, all open.

Envelope: b"HC1" | name of the key (`hanse.security.keyring`) | nonce (12 bytes) | ciphertext with tag.

Concurrency: pure computation, with the ring as it is at the moment.

Next: the registry, which writes credentials, and the syncer, which opens them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag

from hanse.errors import ConfigError, DataLossError
from hanse.security.keyring import Key, KeyName, KeyRing, create_key_file, decode_name, read_keys

_MAGIC = b"HC1"
_NONCE_BYTES = 12  # NIST SP 800-38D: 96 bits; random nonces are safe up to 2**32 seals with one key


class Sealer:
    """Seals and opens the credentials of clusters."""

    def __init__(self, keys: Sequence[Key] | KeyRing) -> None:
        self.ring = keys if isinstance(keys, KeyRing) else KeyRing(keys)
        if not self.ring.seals:
            raise ConfigError("there is no key to seal credentials with; put one into the key file")

    @classmethod
    def from_file(cls, path: Path, *, create: bool = False) -> Sealer:
        """Read the key file; make it (0600) with one new key if it is absent and `create` is true.

        Raises ConfigError if the file is missing, malformed, or readable by others.
        """
        if create:
            create_key_file(path)
        return cls(read_keys(path))

    def seal(self, cluster: str, plaintext: bytes) -> bytes:
        """Return the envelope of `plaintext` for `cluster`. Every call gives other bytes.

        Raises UnavailableError if the keys are a KMS plugin's that is away.
        """
        name, cipher = self.ring.sealing()
        header = _MAGIC + name.encode()
        nonce = os.urandom(_NONCE_BYTES)
        return header + nonce + cipher.encrypt(nonce, plaintext, header + cluster.encode())

    def open(self, cluster: str, envelope: bytes) -> bytes:
        """Return what was sealed for `cluster`. Raises DataLossError if it was not, or the key is gone;
        UnavailableError if the key is a KMS plugin's that is away."""
        name, header, nonce, ciphertext = _split(cluster, envelope)
        cipher = self.ring.cipher(name)
        if cipher is None:
            raise DataLossError(
                f"credentials of cluster {cluster} are sealed with {self.ring.missing(name)}, or give "
                f"another by `hanse update-credentials {cluster} --kubeconfig FILE`",
                reason="CREDENTIALS_KEY_UNKNOWN",
                metadata={"cluster": cluster, "keyId": name.id},
            )
        try:
            return cipher.decrypt(nonce, ciphertext, header + cluster.encode())
        except InvalidTag as error:
            raise _corrupt(cluster) from error

    async def fetch(self, envelopes: Collection[bytes]) -> None:
        """Get what opens these, where a KMS plugin is to be asked for it."""
        await self.ring.fetch([name for each in envelopes if (name := sealed_with(each)) is not None])

    def needs_resealing(self, cluster: str, envelope: bytes) -> bool:
        """Return whether the envelope was sealed with a key that is no longer the first."""
        return not self.ring.is_current(_split(cluster, envelope)[0])


def sealed_with(envelope: bytes) -> KeyName | None:
    """Return which key has sealed an envelope; None for what is none."""
    found = decode_name(envelope, len(_MAGIC)) if envelope.startswith(_MAGIC) else None
    return None if found is None else found[0]


def _split(cluster: str, envelope: bytes) -> tuple[KeyName, bytes, bytes, bytes]:
    found = decode_name(envelope, len(_MAGIC)) if envelope.startswith(_MAGIC) else None
    if found is None:
        raise _corrupt(cluster)
    name, end = found
    nonce = envelope[end : end + _NONCE_BYTES]
    if len(nonce) != _NONCE_BYTES:
        raise _corrupt(cluster)
    return name, envelope[:end], nonce, envelope[end + _NONCE_BYTES :]


def _corrupt(cluster: str) -> DataLossError:
    return DataLossError(
        f"the stored credentials of cluster {cluster} are corrupt or belong to another cluster: "
        f"give another by `hanse update-credentials {cluster} --kubeconfig FILE`",
        reason="CREDENTIALS_CORRUPT",
        metadata={"cluster": cluster},
    )
