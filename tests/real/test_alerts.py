"""The alert rules fire when they should, and not when all is well, by Prometheus' own evaluation."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
OBSERVABILITY = HERE.parents[1] / "deploy" / "observability"


@pytest.fixture
def promtool(tools: Path) -> str:
    """promtool, built once."""
    return str(tools / "promtool")


def run(promtool: str, *arguments: str) -> None:
    """Run promtool; it says what is wrong."""
    result = subprocess.run(
        [promtool, *arguments], capture_output=True, text=True, cwd=OBSERVABILITY, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_rules_are_valid(promtool: str) -> None:
    """Expressions and templates of all rules can be read."""
    run(promtool, "check", "rules", "alerts.yaml")


def test_each_alert_fires_when_it_should_and_alone(promtool: str) -> None:
    """What alerts_test.yaml lets happen fires that alert and no other; what is well fires none."""
    run(promtool, "test", "rules", "alerts_test.yaml")


def test_a_rule_that_is_wrong_is_found(promtool: str, tmp_path: Path) -> None:
    """The test of the rules can fail: with another threshold an alert does not fire."""
    (tmp_path / "alerts_test.yaml").write_text((OBSERVABILITY / "alerts_test.yaml").read_text())
    rules = (OBSERVABILITY / "alerts.yaml").read_text()
    (tmp_path / "alerts.yaml").write_text(
        rules.replace("max(hanse_etcd_full) == 1", "max(hanse_etcd_full) == 2")
    )
    with pytest.raises(AssertionError, match="HanseEtcdFull"):
        run(promtool, "test", "rules", str(tmp_path / "alerts_test.yaml"))


@pytest.mark.parametrize(
    "path", sorted((OBSERVABILITY / "dashboards").glob("*.json")), ids=lambda path: path.stem
)
def test_what_dashboards_ask_can_be_evaluated(promtool: str, path: Path, tmp_path: Path) -> None:
    """Each expression of each panel is one that Prometheus reads."""
    board = json.loads(path.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = [{"record": f"asked:{number}", "expr": each} for number, each in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
    run(promtool, "check", "rules", "--lint=none", str(tmp_path / "rules.yaml"))
