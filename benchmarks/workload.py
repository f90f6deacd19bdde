"""What is written: the objects, the steps, and how a step is told to the processes that do it.

Owns the values that cross process boundaries as JSON. Values and pure functions only.

Next: `load`, which carries a step out, and `watching`, which sees it arrive.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import orjson

Verb = Literal["create", "update", "delete"]
VERBS: tuple[Verb, ...] = ("create", "update", "delete")
ARRIVAL: dict[Verb, str] = {"create": "ADDED", "update": "MODIFIED", "delete": "DELETED"}
"""The watch event by which a member says that it has done it."""
PAYLOAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """One Kubernetes API that is written to or watched, with files for mutual TLS."""

    name: str
    server: str
    ca: str
    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class Step:
    """One verb on many objects."""

    verb: Verb
    batch: str
    """Prefix of the objects' names; no two batches of a run are called the same."""
    count: int
    namespace: str
    concurrency: int = 1
    """Objects in flight at once."""
    pace: float = 0.0
    """Least seconds from one call to the next; 0 is as fast as it goes."""

    @property
    def round(self) -> str:
        """What `data.round` of the objects is after the step."""
        return "1" if self.verb == "update" else "0"

    @property
    def arrival(self) -> tuple[str, str, str]:
        """(event, batch, round) of the watch events that complete the step. A deletion has any round."""
        return ARRIVAL[self.verb], self.batch, "" if self.verb == "delete" else self.round

    def names(self) -> list[str]:
        """Return names of all objects, in the order in which they are written."""
        return [f"{self.batch}-{number:05d}" for number in range(self.count)]

    def body(self, name: str) -> bytes | None:
        """Return what is sent for the object `name`; None for a deletion."""
        return None if self.verb == "delete" else config_map(name, self.namespace, self.round)

    def request(self, name: str) -> tuple[str, str]:
        """Return (method, path) for the object `name`."""
        collection = f"/api/v1/namespaces/{self.namespace}/configmaps"
        if self.verb == "create":
            return "POST", collection
        return {"update": "PUT", "delete": "DELETE"}[self.verb], f"{collection}/{name}"


@dataclass(frozen=True, slots=True)
class Load:
    """A step and where it is carried out: each object at all targets at once."""

    step: Step
    targets: tuple[Target, ...]

    def encoded(self) -> bytes:
        """As one line of JSON."""
        return orjson.dumps(asdict(self))

    @classmethod
    def decoded(cls, line: bytes) -> Self:
        """Return the opposite of `encoded`."""
        values: dict[str, Any] = orjson.loads(line)
        return cls(Step(**values["step"]), tuple(Target(**target) for target in values["targets"]))


def config_map(name: str, namespace: str, round_: str) -> bytes:
    """Return a ConfigMap whose data is 1 KiB."""
    payload = (round_ * PAYLOAD_BYTES)[: PAYLOAD_BYTES - len("roundpayload") - len(round_)]
    return orjson.dumps(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": {"round": round_, "payload": payload},
        }
    )
