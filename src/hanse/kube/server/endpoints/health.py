"""Health of a server: /livez, /readyz and /healthz, as kube-apiserver answers them, open to everybody.

Next: `hanse.kube.server.dispatch`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import web

CHECK_SECONDS = 2.0
"""How long a check may take before it counts as failed."""

HEALTH = ("/healthz", "/livez", "/readyz")


def health_paths(checks: Iterable[str]) -> list[str]:
    """Return the paths that are answered; the server lives whatever the checks say."""
    return [
        f"{path}/{check}" if check else path
        for path in HEALTH
        for check in ("", "ping", *(checks if path != "/livez" else ()))
    ]


async def health(
    request: web.Request, checks: Mapping[str, Callable[[], Awaitable[None]]]
) -> web.StreamResponse:
    """Answer a health request: 200 `ok`, or 500 with the checks that failed. `?verbose` lists all."""
    kind, _, only = request.path.strip("/").partition("/")
    wanted = {} if kind == "livez" else dict(checks)
    if only:
        if only not in {"ping", *wanted}:
            return web.Response(status=404, text=f"no health check {only}\n")
        wanted = {only: wanted[only]} if only in wanted else {}
    results = await asyncio.gather(*(_run(check) for check in wanted.values()))
    failed = [name for name, problem in zip(wanted, results, strict=True) if problem]
    if not failed and "verbose" not in request.query:
        return web.Response(text="ok")
    lines = ["[+]ping ok"]
    lines += [
        f"[-]{name} failed: {problem}" if problem else f"[+]{name} ok"
        for name, problem in zip(wanted, results, strict=True)
    ]
    lines.append(f"{kind} check {'failed' if failed else 'passed'}")
    return web.Response(status=500 if failed else 200, text="\n".join(lines) + "\n")


async def _run(check: Callable[[], Awaitable[None]]) -> str:
    """Return what is wrong, "" if nothing is."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer in {CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its answer
        return str(error) or type(error).__name__
    return ""
