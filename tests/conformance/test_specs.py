"""The list of specs that are expected to fail, and what is read of a run."""

from __future__ import annotations

import pytest

from tests.conformance.specs import EXPECTED, Outcome, expected_failures, outcomes


def test_each_spec_on_the_list_has_a_reason() -> None:
    assert all(expected_failures(EXPECTED.read_text()).values())


def test_a_list_without_reasons_or_with_a_spec_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="without a reason: a spec"):
        expected_failures("a spec\n")
    with pytest.raises(ValueError, match="named twice: a spec"):
        expected_failures("# it is so\na spec\n\n# it is otherwise\na spec\n")


def test_a_spec_passes_only_if_it_ran_and_passed() -> None:
    def spec(state: str, message: str = "", *, file: str = "apimachinery/watch.go") -> dict[str, object]:
        return {
            "LeafNodeType": "It",
            "LeafNodeLocation": {"FileName": f"k8s.io/kubernetes/test/e2e/{file}"},
            "ContainerHierarchyTexts": ["[sig-api-machinery] Watchers"],
            "LeafNodeText": "should end [Conformance]",
            "State": state,
            "Failure": {"Message": message},
            "RunTime": 2_000_000_000,
        }

    name = "[sig-api-machinery] Watchers should end [Conformance]"
    reports = [
        {
            "SpecReports": [
                spec("passed"),
                spec("failed", "it did not"),
                spec("interrupted"),
                spec("skipped"),
                spec("skipped", "there are no nodes"),
                spec("passed", file="apimachinery/webhook.go"),
            ]
        }
    ]
    assert list(outcomes(reports)) == [
        Outcome(name, "", 2.0),
        Outcome(name, "it did not", 2.0),
        Outcome(name, "interrupted", 2.0),
        Outcome(name, "there are no nodes", 2.0),
    ]
