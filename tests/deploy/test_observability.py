"""Alert rules and dashboards ask for metrics that exist; each rule has a runbook and a test."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.generated import ALERTS, ROOT
from tests.docs.test_docs import anchors, instruments

OPERATIONS = ROOT / "docs" / "operations.md"
DASHBOARDS = sorted((ALERTS.parent / "dashboards").glob("*.json"))
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
OTHERS = {
    "up",
    "ALERTS",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "etcd_server_has_leader",
    "etcd_disk_wal_fsync_duration_seconds_bucket",
    "kube_cronjob_created",
    "kube_cronjob_status_last_successful_time",
    "kube_job_status_failed",
    "kube_job_status_start_time",
}
"""Series that are Prometheus', the process's, etcd's own, and those of kube-state-metrics."""


def series(expression: str) -> set[str]:
    """The names of series in an expression; labels are left out."""
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", expression)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    return set(re.findall(r"\b(?:hanse|http|rpc|etcd|process|kube)_\w+|\bup\b|\bALERTS\b", bare))


def unknown(expression: str) -> set[str]:
    """The series of an expression that nobody makes."""
    ours = set(instruments().values())
    return {
        name
        for name in series(expression) - OTHERS
        if name not in ours and re.sub(r"_(bucket|count|sum)$", "", name) not in ours
    }


def test_each_rule_is_about_series_that_exist() -> None:
    """What an expression names is made by our code, by etcd, Prometheus or kube-state-metrics."""
    assert {rule["alert"]: found for rule in RULES if (found := unknown(rule["expr"]))} == {}
    assert unknown("rate(hanse_made_up_total[5m]) > 0") == {"hanse_made_up_total"}


def test_each_rule_has_its_runbook_and_each_runbook_its_rule() -> None:
    """docs/operations.md has one section for each alert, where its annotation says."""
    text = OPERATIONS.read_text()
    part = text[text.index("## Runbooks") :]
    part = part[: part.index("\n## ", 1)]
    sections = re.findall(r"^#### (\w+)$", part, re.MULTILINE)
    names = [rule["alert"] for rule in RULES]
    assert sections == names
    assert len(set(names)) == len(names)
    for rule in RULES:
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert anchor in anchors(ROOT / file)
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].strip()


def test_each_rule_has_a_test_that_fires_it() -> None:
    """alerts_test.yaml, which tests/real runs with promtool, expects each alert to fire at least once."""
    tests = yaml.safe_load((ALERTS.parent / "alerts_test.yaml").read_text())["tests"]
    expected = [
        sample["labels"]
        for test in tests
        for each in test["promql_expr_test"]
        for sample in each["exp_samples"]
    ]
    fired = {name for labels in expected for name in re.findall(r'alertname="(\w+)"', labels)}
    assert fired == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_each_dashboard_shows_series_that_exist(path: Path) -> None:
    """Its panels have titles, a data source that one chooses, and ask for what there is; none overlap."""
    board = json.loads(path.read_text())
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert unknown(target["expr"]) == set(), panel["title"]
            assert series(target["expr"]), panel["title"]
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert max(x for x, _ in own) < 24
        cells |= own
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert [each["type"] for each in board["templating"]["list"]] == ["datasource"]


def test_what_operators_look_at_first_is_on_a_dashboard() -> None:
    """Clusters by state, unplaced replicas, sync states, drift, queues, leaders, ends of certificates."""
    shown = set().union(
        *(
            series(target["expr"])
            for path in DASHBOARDS
            for panel in json.loads(path.read_text())["panels"]
            for target in panel["targets"]
        )
    )
    assert {
        "hanse_clusters",
        "hanse_replicas_unplaced",
        "hanse_syncer_sync_states",
        "hanse_syncer_drift_repairs_total",
        "hanse_queue_depth",
        "hanse_leader",
        "hanse_certificate_end_seconds",
        "hanse_credential_end_seconds",
    } <= shown
