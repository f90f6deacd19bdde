"""The examples of docs/python-client.md, each run as it stands there against a federation."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re

import pytest
from hanse_client import ClientConfig, HanseClient

from tests.docs.tables import ROOT
from tests.system.harness import Federation

PAGE = (ROOT / "docs" / "python-client.md").read_text()
EXAMPLES = re.findall(
    r"^## \d+\. ([^\n]*)\n.*?```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL
)

pytestmark = pytest.mark.timeout(240)


async def run(code: str, client: HanseClient) -> str:
    """Run an example inside of its coroutine; return what it prints."""
    compiled = compile(code, "docs/python-client.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        coroutine = eval(compiled, {"hanse": client})  # noqa: S307
        assert inspect.iscoroutine(coroutine)
        await coroutine
    return out.getvalue()


def test_there_are_ten_numbered_examples() -> None:
    """None is passed over because it is written in another way."""
    assert len(EXAMPLES) == len(re.findall(r"^## \d+\.", PAGE, re.MULTILINE)) == PAGE.count("```python") == 10


async def test_the_examples_print_what_stands_below_them(federation: Federation) -> None:
    """In the order of the page."""
    config = ClientConfig.find(federation.data_dir / "client.toml")
    try:
        async with HanseClient(config) as client, asyncio.timeout(120):
            for title, code, expected in EXAMPLES:
                assert await run(code, client) == expected, title
    finally:
        await asyncio.to_thread(federation.kubectl, "delete", "namespace", "shop", "--timeout=60s")
