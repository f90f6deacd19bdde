"""Fixtures of the tests of the local federation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.local.fakes import Fakes


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    """A maker of fake processes."""
    return Fakes(tmp_path)
