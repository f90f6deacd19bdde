"""The subject of a certificate, its common name and organizations, and its end.

Owns the reading, for certificates that TLS has verified already. `cryptography` is loaded with the first one:
the command line, which reads none, starts without it.

Concurrency: pure functions.

Next: `hanse.security.auth`.
"""

from __future__ import annotations

import re

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def certificates_of(pem: bytes) -> tuple[bytes, ...]:
    """Split a file of certificates, PEM, into those, each as it would be alone in a file."""
    return tuple(block + b"\n" for block in _CERTIFICATE.findall(pem))


def subject_of_der(der: bytes) -> tuple[str, tuple[str, ...], float]:
    """Return (common name, organizations, end) of a certificate; the name is "" if it has none. The end is
    the last second in which it is valid, in seconds since the epoch.

    Raises ValueError if it is not a certificate, or its subject is not made of texts.
    """
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(der)
    except x509.InvalidVersion as error:
        raise ValueError(f"not an X.509 certificate: {error}") from error
    subject = certificate.subject
    names = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    groups = subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    texts = [attribute.value for attribute in (*names[:1], *groups)]
    words = [text for text in texts if isinstance(text, str)]
    if len(words) != len(texts):
        raise ValueError("an attribute of the certificate's subject is not text")
    end = certificate.not_valid_after_utc.timestamp()
    return (words[0], tuple(words[1:]), end) if names else ("", tuple(words), end)
