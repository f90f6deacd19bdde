"""The readers of what comes from outside, called directly: many more inputs a second than over a socket.

Owns `Decoders`. Each reader returns a value or raises a HanseError, within the time that an event loop may be
held (YAML is read in a thread, and may take a second).

Next: `tests.fuzz.engine`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from random import Random
from typing import Any

import orjson
from hanse_apiserver.rpc import objects as rpc_objects
from hanse_cli import manifests
from hanse_registry.member.credentials import read_kubeconfig
from hanse_scheduler.decide.overrides import Overriding
from hanse_scheduler.decide.policies import compile_override, compile_placement
from hanse_scheduler.decide.preferences import parse_preferences
from hanse_scheduler.decide.selector import parse_cluster_selector
from hanse_syncer.decide.render import render

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.documents import json_document, yaml_documents
from hanse.errors import HanseError
from hanse.kube.kinds.decoding import decode
from hanse.kube.merge.json_patch import json_patch
from hanse.kube.merge.patch import merge_patch, strategic_merge_patch
from hanse.kube.merge.schema import SchemaSet
from hanse.kube.model import jsonpath
from hanse.kube.model.quantity import Quantity
from hanse.kube.model.selectors import FieldSelector, LabelSelector
from hanse.kube.server.negotiation import parse_accept
from hanse.kube.server.request import parse_path
from hanse.kube.validation.objects import validate
from hanse.kube.wire.protobuf import MAGIC, decode_object
from hanse.rpc.lists.pagination import PageToken, decode_page_token, encode_page_token
from tests.apiserver.world import deployment
from tests.fuzz import mutations
from tests.fuzz.engine import Input
from tests.fuzz.surfaces.served import OVERRIDE, PLACEMENT, SERVICE, WIDGET
from tests.kube.server.world import config_map, widget_crd
from tests.scheduler.builders import view
from tests.support.kinds import strategy_of

_SLOW = frozenset({"yaml", "manifests", "kubeconfig"})
_SLOW_FACTOR = 40.0
MAX_DATA = 128 * 1024
"""Bytes of one text: what is longer takes its time by its length alone."""


def _schema(obj: Any) -> Any:
    api_version = str(obj.get("apiVersion", "")) if isinstance(obj, dict) else ""
    group, _, version = api_version.rpartition("/")
    return SchemaSet.builtin().lookup(
        group, version, str(obj.get("kind", "")) if isinstance(obj, dict) else ""
    )


def _validate(obj: Any) -> None:
    if isinstance(obj, dict):
        schema = _schema(obj)
        read = decode(obj, schema)
        if not read.errors and schema is not None and isinstance(read.obj.get("metadata", {}), dict):
            validate(read.obj, schema, strict=True, strategy=strategy_of(read.obj))


def _policy(obj: Any) -> None:
    if isinstance(obj, dict):
        compile_placement(obj)
        policy = compile_override(obj)
        Overriding(deployment(), [policy]).for_cluster(view("a", labels={"k": "v"}))


def _patch(document: Any) -> None:
    if isinstance(document, list) and len(document) == 3:
        target = document[1] if isinstance(document[1], dict) else {}
        json_patch(target, document[2])


def _merges(document: Any) -> None:
    if isinstance(document, list) and len(document) == 3:
        target = document[1] if isinstance(document[1], dict) else {}
        merge_patch(target, document[2])
        strategic_merge_patch(target, document[2], SchemaSet.builtin().lookup("apps", "v1", "Deployment"))


def _render(document: Any) -> None:
    placement = ClusterPlacement(cluster="a", overrides=orjson.dumps(document))
    render(deployment(), placement=placement, federation_id="f")


def _jsonpath(text: str) -> None:
    try:
        jsonpath.parse(text)
    except ValueError:
        return
    jsonpath.find(text, deployment())


def _json(read: Callable[[Any], Any]) -> Callable[[bytes], Any]:
    return lambda data: read(json_document(data, what="it"))


def _text(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


_OPERATIONS = [
    {"op": "copy", "from": "/spec", "path": "/metadata/annotations"},
    {"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "x"}},
    {"op": "move", "from": "/spec/replicas", "path": "/x"},
    {"op": "test", "path": "/kind", "value": "Deployment"},
]
_MERGE = {
    "spec": {
        "template": {
            "spec": {
                "containers": [{"name": "web", "$patch": "delete"}],
                "$setElementOrder/containers": [{"name": "web"}],
                "$retainKeys": ["containers"],
            }
        }
    }
}

READERS: dict[str, tuple[Callable[[bytes], Any], tuple[Any, ...]]] = {
    "json": (json_document, (WIDGET,)),
    "yaml": (lambda data: yaml_documents(data, what="it"), (b"a: &a [1, {b: c}]\nd: *a\n--- x", WIDGET)),
    "manifests": (
        _text(lambda text: list(manifests.parse(text, "it"))),
        (b"kind: A\napiVersion: v1\nmetadata: {name: a}",),
    ),
    "kubeconfig": (
        lambda data: read_kubeconfig(data, context=""),
        (b"users: [{name: a, user: {token: t}}]\nclusters: []",),
    ),
    "protobuf": (
        decode_object,
        (MAGIC + b"\n\x0f\n\x02v1\x12\tNamespace\x12\x10\n\x06\n\x04shop\x12\x02\n\x00\x1a\x02\n\x00",),
    ),
    "objects": (
        _json(_validate),
        (deployment(), SERVICE, config_map("a"), widget_crd(), OVERRIDE, PLACEMENT),
    ),
    "policies": (_json(_policy), (OVERRIDE, PLACEMENT)),
    "json_patch": (_json(_patch), (["", deployment(), _OPERATIONS],)),
    "merge_patches": (_json(_merges), (["", deployment(), _MERGE],)),
    "render": (_json(_render), (_OPERATIONS,)),
    "label_selector": (_text(LabelSelector.parse), (b"a=b,c in (d,e),!f,g>1",)),
    "field_selector": (_text(FieldSelector.parse), (b"metadata.name=a,x!=b\\,c",)),
    "selector_object": (
        _json(lambda d: LabelSelector.from_object(d if isinstance(d, dict) else None)),
        ({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]},),
    ),
    "quantity": (_text(Quantity.parse), (b"1500m", b"2e3", b"1.5Gi")),
    "jsonpath": (
        _text(_jsonpath),
        (b"{.spec.template.spec.containers[?(@.name=='web')].image}", b".a[*]['b'][0]"),
    ),
    "accept": (_text(parse_accept), (b"application/json;as=Table;v=v1;g=meta.k8s.io,application/json",)),
    "path": (_text(parse_path), (b"/apis/apps/v1/namespaces/a/deployments/b/status",)),
    "page_token": (
        _text(lambda text: decode_page_token(text, scope="s")),
        (encode_page_token(PageToken(7, "k"), scope="s").encode(),),
    ),
    "object_name": (_text(rpc_objects.parse_name), (b"objects/core/configmaps/shop/c",)),
    "cluster_selector": (
        _text(parse_cluster_selector),
        (b'[{"key": "a", "operator": "In", "values": ["b"]}]',),
    ),
    "preferences": (
        _text(lambda text: parse_preferences(text, annotation="it")),
        (b'{"rebalance": true, "clusters": {"*": {"weight": 1}}}',),
    ),
}


class Decoders:
    """All readers."""

    name = "decoders"

    def __init__(self) -> None:
        self._took = 0.0

    def start(self) -> None:
        """Read each seed once, so that what is read on first use does not count."""
        for step in self.seeds():
            self.run(step)

    def stop(self) -> None:
        """Nothing is left."""

    def lag(self) -> float:
        """How long the last reader took."""
        return self._took

    def seeds(self) -> list[Input]:
        """Texts that can be read."""
        return [
            {
                "reader": name,
                "data": (each if isinstance(each, bytes) else json.dumps(each).encode()).decode("latin-1"),
            }
            for name, (_, examples) in READERS.items()
            for each in examples
        ]

    def mutated(self, rng: Random, seed: Input) -> Input:
        """Change the document, the text or the bytes."""
        data = seed["data"].encode("latin-1")
        kind = rng.random()
        if kind < 0.5:
            try:
                document = mutations.mutate_json(rng, json.loads(data))
                data = json.dumps(document).encode(errors="surrogatepass")
            except (ValueError, RecursionError):
                text = mutations.mutate_text(rng, data.decode("utf-8", "surrogateescape"))
                data = text.encode("utf-8", "surrogatepass")
        elif kind < 0.9:
            data = mutations.mutate_bytes(rng, data)
        else:
            data = mutations.costly(rng)
        return {"reader": seed["reader"], "data": data[:MAX_DATA].decode("latin-1")}

    def run(self, step: Input) -> str:
        """Read the text; say what is wrong with how it ends."""
        read, _ = READERS[step["reader"]]
        data = step["data"].encode("latin-1")
        problem = ""
        began = time.thread_time()
        try:
            read(data)
        except HanseError as error:
            if len(str(error)) > 10_000:
                problem = f"{step['reader']} repeats its input in a message of {len(str(error))} characters"
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is a failure
            problem = f"{step['reader']} raised {type(error).__name__}: {str(error)[:200]}"
        self._took = time.thread_time() - began
        if step["reader"] in _SLOW:
            self._took /= _SLOW_FACTOR
        return problem
