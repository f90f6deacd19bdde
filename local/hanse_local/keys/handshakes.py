"""Handshakes by which it is found out what a server trusts, and what it shows.

Owns questions to servers of this machine that speak HTTP/1.1 or HTTP/2 over mutual TLS. With TLS 1.3 a client
learns that its certificate is refused only when it reads, so a request is sent.

Concurrency: short blocking connections.

Next: `hanse_local.keys.rotating`.
"""

from __future__ import annotations

import socket
import ssl
import tempfile
from pathlib import Path
from typing import Final

from hanse.security.pki import KeyPair

SECONDS: Final = 5.0
"""How long a server may take to answer."""
_HTTP2: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_HTTP1: Final = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def accepts(host: str, port: int, pair: KeyPair) -> bool:
    """Return whether the server takes this client certificate. A server that does not answer takes none."""
    context = _context()
    with tempfile.TemporaryDirectory(prefix="hanse-") as directory:
        files = pair.write(Path(directory), "client")
        context.load_cert_chain(files.cert, files.key)
    try:
        with _connected(host, port, context) as connection:
            connection.sendall(_HTTP2 if connection.selected_alpn_protocol() == "h2" else _HTTP1)
            return bool(connection.recv(1))
    except OSError:  # a refusal, among others
        return False


def shown(host: str, port: int) -> bytes:
    """Return the certificate, DER, that the server shows; empty if it does not answer."""
    try:
        with _connected(host, port, _context()) as connection:
            return connection.getpeercert(binary_form=True) or b""
    except OSError:
        return b""


def _context() -> ssl.SSLContext:
    """Return a context that verifies nothing: what is asked is what the server does, and nothing is told to
    it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def _connected(host: str, port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection((host, port), SECONDS), server_hostname=host)
