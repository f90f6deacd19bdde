"""How large an object may be that is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import orjson
import pytest

from hanse.errors import InvalidArgumentError
from hanse.kube.engine.resources.sizes import check_stored_size
from hanse.kube.model.objects import Object
from hanse.store import MAX_REQUEST_BYTES
from hanse.store.keys import ObjectKey

KEY = ObjectKey("apps", "deployments", "default", "web")


def _deployment(managers: int, *, arguments: int = 0) -> Object:
    """Return a Deployment of which each of some managers owns 12 000 variables."""
    fields: Object = {".": {}, "f:name": {}, "f:value": {}}
    owned = {f'k:{{"name":"E{number}"}}': fields for number in range(12_000)}
    return {
        "metadata": {"name": "web", "managedFields": [{"fieldsV1": owned}] * managers},
        "spec": {"args": ["x" * 1024] * arguments},
    }


@contextmanager
def _refused() -> Iterator[None]:
    with pytest.raises(InvalidArgumentError, match="larger than"):
        yield


@pytest.mark.parametrize(
    ("obj", "fits"),
    [
        (_deployment(1), True),
        (_deployment(2), True),
        (_deployment(2, arguments=100), True),
        (_deployment(2, arguments=300), False),
        (_deployment(3), False),
        ({"metadata": {}, "spec": {"args": ['"' * (1 << 20)]}}, True),
        ({"metadata": {"managedFields": None}, "spec": {"args": ['"' * (1 << 21)]}}, False),
    ],
)
def test_what_managers_own_counts_as_json(obj: Object, fits: bool) -> None:
    """As in the protobuf of a kube-apiserver; texts count as they are, without what JSON escapes."""
    encoded = max(len(orjson.dumps(obj)), MAX_REQUEST_BYTES + 1)
    with nullcontext() if fits else _refused():
        check_stored_size(KEY, obj, encoded=encoded, builtin=True)
