"""Objects at rest: envelopes around those that must not be read in etcd, with AES-256-GCM under a key ring.

Owns the stored form of a sealed object and which kinds are sealed. Each object is encrypted with a key of its
own, made for this one write, and that key with the first of the ring (`hanse.security.keyring`; the first
seals, all open). In front of it stands an outline of the object that everybody may read: metadata and the
names of fields, with every value left blank. Key and outline are authenticated with the rest, so neither can
an envelope be put under another name, nor an outline be changed.

    b"HS1\\n" | length of outline (4 bytes) | outline, JSON | name of the key (`hanse.security.keyring`)
    | nonce (12) | sealed data key (48) | nonce (12) | ciphertext with tag

JSON never starts so, so a plain object, as older releases wrote all, is told apart for certain.

Concurrency: pure computation, with the ring as it is at the moment.

Next: `hanse.store.sealed`, which seals what goes into a store and opens what comes out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hanse.errors import ConfigError, DataLossError
from hanse.paths import CORE, resource_path
from hanse.security.envelope import MAGIC, is_sealed, outline, outline_end, packed, unpacked
from hanse.security.keyring import Key, KeyName, KeyRing, decode_name, read_ring
from hanse.well_known import OWN_GROUPS

_NONCE: Final = 12
_DATA_KEY: Final = 32
_SEALED_KEY: Final = _NONCE + _DATA_KEY + 16
_NOT_SEALED: Final = frozenset(
    {
        "namespaces", "nodes", "pods", "services", "events", "replicationcontrollers",
        "deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps",
        "jobs.batch", "cronjobs.batch", "horizontalpodautoscalers.autoscaling",
        "customresourcedefinitions.apiextensions.k8s.io",
    }
)  # fmt: skip
"""Kinds of which other services need values: replicas, ports, names."""


SECRETS: Final = "secrets"
_CORE: Final = frozenset(
    {
        SECRETS, "configmaps", "endpoints", "limitranges", "persistentvolumeclaims", "persistentvolumes",
        "podtemplates", "resourcequotas", "serviceaccounts",
    }
)  # fmt: skip
"""Kinds of the core group that can be sealed: a word that is none of them would seal nothing, unnoticed."""
_KIND: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def kinds_to_seal(kinds: Collection[str]) -> tuple[str, ...]:
    """Return what a list of kinds means: Secrets are always among them, unless none are sealed at all."""
    return tuple(dict.fromkeys((SECRETS, *kinds))) if kinds else ()


def check_kinds(kinds: Iterable[str]) -> None:
    """Raise ConfigError unless all of `kinds` (`resource` or `resource.group`, plural) can be sealed."""
    for kind in kinds:
        _, _, group = kind.partition(".")
        known = bool(group) or kind in _CORE
        if not known or not _KIND.fullmatch(kind) or kind in _NOT_SEALED or group in (CORE, *OWN_GROUPS):
            raise ConfigError(
                f"setting sealed_kinds has {kind!r}: name kinds as secrets or widgets.example.org, and none "
                "of which other services need more than the metadata",
                metadata={"setting": "sealed_kinds"},
            )


class ObjectSealer:
    """Seals objects of some kinds, and opens what was sealed with a key that it has."""

    def __init__(self, keys: Sequence[Key] | KeyRing = (), *, kinds: Iterable[str] = ()) -> None:
        """Without keys nothing is sealed, and nothing that is sealed can be opened. `kinds` are plurals, as
        `secrets` or `widgets.example.org`."""
        self.ring = keys if isinstance(keys, KeyRing) else KeyRing(keys)
        self._prefixes = tuple(_prefix(kind) for kind in kinds) if self.ring.seals else ()

    @classmethod
    def from_file(cls, path: str, *, kinds: Iterable[str] = ()) -> ObjectSealer:
        """Read the key file; no path is no key. Raises ConfigError for a file that cannot be used."""
        return cls(read_ring(Path(path)), kinds=kinds) if path else cls()

    def seals(self, key: str) -> bool:
        """Return whether what is stored under `key` is to be sealed."""
        return key.startswith(self._prefixes) if self._prefixes else False

    def is_current(self, key: str, value: bytes) -> bool:
        """Return whether a stored value is as it would be if it was written now."""
        if not self.seals(key):
            return not is_sealed(value) or not self.ring.seals
        if not is_sealed(value):
            return False
        head = _head(value)
        return head is None or self.ring.is_current(head[0])  # what is no envelope cannot be written again

    def seal(self, key: str, encoded: bytes) -> bytes:
        """Return the envelope of an object, JSON, for `key` (its key in the store, with `objects/`).

        Raises UnavailableError if the keys are a KMS plugin's that is away.
        """
        name, cipher = self.ring.sealing()
        shown = orjson.dumps(outline(orjson.loads(encoded)))
        head = MAGIC + len(shown).to_bytes(4, "big") + shown + name.encode()
        bound = head + key.encode()
        data_key, first, second = os.urandom(_DATA_KEY), os.urandom(_NONCE), os.urandom(_NONCE)
        wrapped = first + cipher.encrypt(first, data_key, bound)
        return head + wrapped + second + AESGCM(data_key).encrypt(second, packed(encoded), bound)

    def open(self, key: str, value: bytes) -> bytes:
        """Return the object, JSON, in an envelope. Raises DataLossError if it is another's, was changed, or
        its key is not there; UnavailableError if that is a KMS plugin's that is away."""
        head = _head(value)
        if head is None:
            raise _corrupt(key)
        name, end = head
        cipher = self.ring.cipher(name)
        if cipher is None:
            raise DataLossError(
                f"{key} is sealed with {self.ring.missing(name)}",
                reason="OBJECT_KEY_UNKNOWN",
                metadata={"key": key, "keyId": name.id},
            )
        bound = value[:end] + key.encode()
        wrapped, rest = value[end : end + _SEALED_KEY], value[end + _SEALED_KEY :]
        try:
            data_key = cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], bound)
            return unpacked(AESGCM(data_key).decrypt(rest[:_NONCE], rest[_NONCE:], bound))
        except (InvalidTag, ValueError) as error:
            raise _corrupt(key) from error


def sealed_with(value: bytes) -> KeyName | None:
    """Return which key has sealed a stored value; None for what is plain, or no envelope."""
    head = _head(value) if is_sealed(value) else None
    return None if head is None else head[0]


def _prefix(kind: str) -> str:
    resource, _, group = kind.partition(".")
    return f"objects/{resource_path(group, resource)}/"


def _head(value: bytes) -> tuple[KeyName, int] | None:
    """Return the name of the key of an envelope and where what it sealed begins; None for a broken one."""
    return decode_name(value, outline_end(value))


def _corrupt(key: str) -> DataLossError:
    return DataLossError(
        f"{key} is sealed and was changed, or belongs under another name: restore it from a backup",
        reason="OBJECT_CORRUPT",
        metadata={"key": key},
    )
