"""The examples of docs/install.md, taken out of it, so that what is tried is what is written. Pure."""

from __future__ import annotations

import re

from tests.deploy.generated import ROOT

GUIDE = ROOT / "docs" / "install.md"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str, *, with_text: str = "") -> list[str]:
    """The examples in a language, in order, those that have `with_text`."""
    found = _FENCE.findall(GUIDE.read_text())
    return [body for spoken, body in found if spoken == language and with_text in body]


def block(language: str, with_text: str) -> str:
    """The one example that has this text."""
    (only,) = blocks(language, with_text=with_text)
    return only
