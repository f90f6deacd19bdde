"""Tests in this directory build Kubernetes' conformance specs: they run only when the directory is named."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the runs of specs out unless an argument names this directory or something in it."""
    named = (Path(config.invocation_params.dir, arg.split("::")[0]).resolve() for arg in config.args)
    chosen = any(path == HERE or HERE in path.parents for path in named)
    return None if chosen or collection_path.name != "test_conformance.py" else True
