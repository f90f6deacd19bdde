"""Requests whose answers are looked at as they are, whatever they are."""

from __future__ import annotations

from collections.abc import Mapping

from hanse.kube.client.transport import KubeTransport


async def raw(
    client: KubeTransport,
    method: str,
    path: str,
    *,
    params: Mapping[str, str] | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    """Send a request; return status, headers by lower-case name, and body."""
    answer = await client._exchange(method, path, params=params, body=body, headers=headers)
    return answer.status, answer.headers, answer.body
