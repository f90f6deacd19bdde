"""The contracts are clean, commented, and what is committed is what they generate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = [sys.executable, str(ROOT / "scripts" / "gen.py")]


def test_the_committed_code_is_what_the_protos_generate() -> None:
    """Regenerating changes nothing."""
    result = subprocess.run([*GENERATOR, "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_protos_pass_buf_lint() -> None:
    """buf's STANDARD and COMMENTS rules hold: every message, field and method says what it is."""
    result = subprocess.run([*GENERATOR, "--lint"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
