"""Events: what one says, and that recording them harms nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import AlreadyExistsError, InvalidArgumentError, ResourceExhaustedError, UnavailableError
from hanse.federation.events import CAPACITY, EventRecorder
from hanse.kube.model.events import MAX_EVENT_MESSAGE, InvolvedObject, new_event

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WEB = InvolvedObject("apps/v1", "Deployment", "shop", "web", "u")


class Apiserver:
    """Stores what it is sent; first it raises what it is told to, one error for each request."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked: list[dict[str, Any]] = []
        self.stored: list[dict[str, Any]] = []

    async def create(self, manifest: bytes) -> None:
        """Answer one request."""
        event = orjson.loads(manifest)
        self.asked.append(event)
        if self.errors:
            raise self.errors.pop(0)
        self.stored.append(event)


class Clock:
    """The time, which passes when a test says so."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """Return the present time."""
        return self.now


@asynccontextmanager
async def recording(apiserver: Apiserver, **options: Any) -> AsyncIterator[EventRecorder]:
    """Run a recorder; leaving waits until it has sent, or given up, what it was given."""
    recorder = EventRecorder(apiserver.create, component="hanse-test", **options)
    task = asyncio.create_task(recorder.run())
    yield recorder
    await asyncio.sleep(1000)  # of the test's own time
    assert not task.done(), "nothing ends the recorder"
    task.cancel()


def record(recorder: EventRecorder, message: str = "m", *, reason: str = "R") -> None:
    """Record a warning about the Deployment."""
    recorder.record(WEB, type_="Warning", reason=reason, message=message)


@given(st.text(max_size=2000), st.integers(1, 253))
def test_an_event_fits_into_what_the_api_accepts(message: str, length: int) -> None:
    """Whatever the message is and however long the object's name."""
    about = InvolvedObject("v1", "Namespace", "", "a" * length, "u")
    event = new_event(
        about, type_="Normal", reason="R", message=message, component="c", suffix="0123456789abcdef", now=NOW
    )
    assert len(event["message"]) <= MAX_EVENT_MESSAGE
    assert message.startswith(event["message"])
    assert len(event["metadata"]["name"]) <= 253
    assert event["metadata"]["namespace"] == "default"
    assert event["involvedObject"]["namespace"] == ""
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-02T03:04:05Z"


def test_the_object_is_named_as_it_names_itself() -> None:
    """By apiVersion, kind, namespace, name and uid; what is absent is empty."""
    metadata = {"name": "web", "namespace": "shop", "uid": "u"}
    assert InvolvedObject.of({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}) == WEB
    assert InvolvedObject.of({}) == InvolvedObject("", "", "", "", "")


@pytest.mark.looptime
async def test_an_event_is_tried_again_and_stored_once() -> None:
    """What the apiserver cannot take at present comes again by the same name, which it may know already."""
    apiserver = Apiserver(
        UnavailableError("down"), ResourceExhaustedError("full"), AlreadyExistsError("there")
    )
    async with recording(apiserver) as recorder:
        record(recorder)
    assert len({event["metadata"]["name"] for event in apiserver.asked}) == 1
    assert (len(apiserver.asked), apiserver.stored) == (3, [])


@pytest.mark.looptime
async def test_what_cannot_be_stored_is_given_up_and_the_next_one_is_sent() -> None:
    """A refusal and a mistake of ours at once, an apiserver that is away after five tries."""
    away = [UnavailableError("down") for _ in range(5)]
    apiserver = Apiserver(InvalidArgumentError("no"), RuntimeError("oops"), *away)
    async with recording(apiserver) as recorder:
        for message in ("refused", "broken", "away", "stored"):
            record(recorder, message)
    assert [event["message"] for event in apiserver.stored] == ["stored"]
    assert len(apiserver.asked) == 8


@pytest.mark.looptime
async def test_the_oldest_goes_if_too_many_wait() -> None:
    """Recording never waits, and what is new is worth more."""
    apiserver = Apiserver()
    async with recording(apiserver) as recorder:
        for index in range(CAPACITY + 3):
            record(recorder, str(index))
    assert [int(event["message"]) for event in apiserver.stored] == list(range(3, CAPACITY + 3))


@pytest.mark.looptime
async def test_the_same_is_recorded_once_in_a_while() -> None:
    """Of the same object, reason and message; without `quiet` each time."""
    apiserver, clock = Apiserver(), Clock()
    async with recording(apiserver, clock=clock, quiet=60.0) as recorder:
        record(recorder)
        clock.now += timedelta(seconds=59)
        record(recorder)
        record(recorder, "another")
        clock.now += timedelta(seconds=1)
        record(recorder)
    assert [event["message"] for event in apiserver.stored] == ["m", "another", "m"]
    apiserver = Apiserver()
    async with recording(apiserver) as recorder:
        record(recorder)
        record(recorder)
    assert len(apiserver.stored) == 2


@pytest.mark.looptime
async def test_an_event_says_who_tells_it() -> None:
    """The component and, if there are several, which process of it."""
    apiserver = Apiserver()
    async with recording(apiserver, host="one", clock=Clock()) as recorder:
        record(recorder)
    (event,) = apiserver.stored
    assert event["source"] == {"component": "hanse-test", "host": "one"}
    assert (event["reportingComponent"], event["reportingInstance"]) == ("hanse-test", "one")
    assert event["involvedObject"]["uid"] == "u"
