"""Programs that a test runs to their end, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program did: its exit status, and what it wrote."""

    code: int
    out: str
    err: str


async def run_program(*arguments: str, environment: Mapping[str, str], stdin: str = "") -> Ran:
    """Run a program to its end. Raises TimeoutError after `SECONDS`; it is killed then."""
    process = await asyncio.create_subprocess_exec(
        *arguments, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate(stdin.encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return Ran(process.returncode or 0, out.decode(), err.decode())
