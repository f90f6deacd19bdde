"""`hanse explain` of a name whose objects are deleted, and of one that comes after them."""

from __future__ import annotations

from hanse_cli.commands.page import RELEASING, compile_page, deleted_page

from hanse.api.scheduler.v1.scheduler_service_pb2 import ExplainPlacementResponse

TOMBSTONE = {
    "deleteTime": "2026-01-01T00:00:00Z",
    "copies": [
        {"cluster": "us", "uid": "u", "message": "Unreachable: no answer"},
        {"cluster": "eu", "uid": "u", "message": "nothing is left there", "orphan": True},
    ],
}


def test_a_deleted_name_says_what_members_still_have() -> None:
    """Each cluster has its row; what is not gone is what is pending."""
    page = deleted_page("deployment/web in shop", TOMBSTONE)
    assert [(row.cluster, row.decision, row.applied) for row in page.clusters] == [
        ("eu", RELEASING, "nothing is left there"),
        ("us", RELEASING, "Unreachable: no answer"),
    ]
    assert "as --cascade=orphan asks" in page.clusters[0].why
    assert page.pending == (
        "the object is deleted; members still have it, or may: us",
        "us: Unreachable: no answer",
    )


def test_a_successor_says_where_it_waits() -> None:
    """Only where the copy of the deleted object is not gone."""
    page = compile_page(
        title="deployment/web in shop",
        manifest={"metadata": {"generation": 1}},
        explanation=ExplainPlacementResponse(),
        states=[],
        records=[],
        tombstone=TOMBSTONE,
    )
    assert page.pending[-1] == "us: waits for what was deleted under its name: Unreachable: no answer"
    assert not any(line.startswith("eu: waits") for line in page.pending)
