"""The files of the Helm chart are what is made of the overlays; tests/real has helm render them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

from tests.deploy import chart
from tests.deploy.generated import ROOT
from tests.deploy.manifests import needs_kubectl


@needs_kubectl
@pytest.mark.parametrize("path", chart.files(), ids=lambda path: path.name)
def test_files_of_the_chart_are_made_of_the_overlays(path: Path) -> None:
    """Each template, and the values, are what `python -m tests.deploy.chart` writes."""
    assert path.read_text() == chart.files()[path](), "run python -m tests.deploy.chart"


def test_the_chart_is_of_this_release() -> None:
    """Its version is that of the package, and it has no file that nobody made."""
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (about["version"], about["appVersion"]) == (version, version)
    there = {path for path in chart.CHART.rglob("*") if path.is_file()}
    assert there == {chart.CHART / "Chart.yaml", *chart.files()}
