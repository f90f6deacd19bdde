"""The subject of a certificate, its common name and organizations, and its end, read from DER.

Owns a reader of just so much ASN.1 (X.690, RFC 5280 section 4.1) as it takes to reach them. It is
for certificates that TLS has verified already; it lets a service know its callers without a
cryptographic library in memory (10 MiB per process).

Concurrency: pure functions.

Next: `hanse.security.auth`.
"""

from __future__ import annotations

import datetime as dt
import re

_SEQUENCE, _OID, _VERSION = 0x30, 0x06, 0xA0
_COMMON_NAME = bytes.fromhex("550403")  # 2.5.4.3
_ORGANIZATION = bytes.fromhex("55040a")  # 2.5.4.10
_ENCODINGS = {
    0x0C: "utf-8",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}


_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def certificates_of(pem: bytes) -> tuple[bytes, ...]:
    """Split a file of certificates, PEM, into those, each as it would be alone in a file."""
    return tuple(block + b"\n" for block in _CERTIFICATE.findall(pem))


def subject_of_der(der: bytes) -> tuple[str, tuple[str, ...], float]:
    """Return (common name, organizations, end) of a certificate; the name is "" if it has none. The end is
    the last second in which it is valid, in seconds since the epoch.

    Raises ValueError if it is not a certificate.
    """
    parts = _children(_content(der, _SEQUENCE))
    fields = _children(parts[0][1]) if parts else []
    if fields and fields[0][0] == _VERSION:
        fields = fields[1:]
    if len(fields) < 5:
        raise ValueError("not a DER certificate")
    names: list[str] = []
    groups: list[str] = []
    # TBSCertificate: serial, signature, issuer, validity, subject
    for _, attributes in _children(fields[4][1]):
        for _, attribute in _children(attributes):
            pair = _children(attribute)
            if len(pair) != 2:
                raise ValueError("malformed attribute in a certificate's subject")
            (kind, oid), (tag, value) = pair
            if kind == _OID and oid in (_COMMON_NAME, _ORGANIZATION):
                (names if oid == _COMMON_NAME else groups).append(_text(tag, value))
    return (names[0] if names else "", tuple(groups), _end(fields[3][1]))


def _end(validity: bytes) -> float:
    """Return the second of the two times of a certificate's validity."""
    times = _children(validity)
    if len(times) != 2:
        raise ValueError("malformed validity of a certificate")
    tag, value = times[1]
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        text = ("20" if text[:2] < "50" else "19") + text  # RFC 5280 section 4.1.2.5.1
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"unknown time type {tag:#x} in a certificate's validity")
    return dt.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC).timestamp()


def _content(data: bytes, tag: int) -> bytes:
    children = _children(data)
    if len(children) != 1 or children[0][0] != tag:
        raise ValueError("not a DER certificate")
    return children[0][1]


def _children(data: bytes) -> list[tuple[int, bytes]]:
    """Split the content of a constructed value into (tag, content) pairs."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise ValueError("DER ends early")
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data):
            raise ValueError("DER ends early")
        found.append((tag, data[at : at + length]))
        at += length
    return found


def _text(tag: int, value: bytes) -> str:
    encoding = _ENCODINGS.get(tag)
    if encoding is None:
        raise ValueError(f"unknown string type {tag:#x} in a certificate's subject")
    return value.decode(encoding)
