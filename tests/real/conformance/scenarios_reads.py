"""Reads: lists, pages, selectors, Tables and watches. Next: `scenarios_mistakes`."""

from __future__ import annotations

from typing import Any

import orjson

from hanse.kube.client.requests import GroupVersionResource
from tests.real.conformance.objects import config_map, container, deployment, of_every_kind, thing
from tests.real.conformance.sides import METADATA_LIST, TABLE, Side, collection
from tests.support.waiting import until

CM = "/api/v1/namespaces/{ns}/configmaps"
OURS = {"labelSelector": "x"}


async def lists(side: Side) -> None:
    """Selectors, pages, metadata only, and resourceVersion in all its meanings."""
    for number in range(5):
        labels = {"x": str(number), "even": str(number % 2 == 0).lower()}
        await side.ask("", "POST", CM, config_map(f"c{number}", labels=labels))
    selectors = [
        "x",
        "!x,x",
        "x=1",
        "x==1",
        "x!=1",
        "x in (1,2)",
        "x notin (1,2),x",
        "even=true,x in (0,4)",
        "x>1,x<4",
        "x in ()",
        "a b",
        "x=",
        "=x",
        "x in 1",
        "x=1,",
        "-x=1",
        "x=1 2",
        ",",
        "x gt 1",
    ]
    for selector in selectors:
        answer = await side.ask(selector, "GET", CM, labelSelector=selector)
        if answer.status != 200:
            side.answers.append(answer)
            continue
        side.record(selector, _names(answer.body))
    fields = [
        "metadata.name=c1",
        "metadata.name!=c1",
        "metadata.name=c1,metadata.namespace=none",
        "data.a=1",
        "data.a!=1",
        "metadata.labels.x=1",
        "spec.nodeName!=x",
        "metadata.name==c2",
        "metadata.name",
        "metadata.name in (a)",
        "=",
    ]
    for selector in fields:
        answer = await side.ask(selector, "GET", CM, fieldSelector=selector, **OURS)
        if answer.status != 200:
            side.answers.append(answer)
            continue
        side.record(selector, _names(answer.body))
    pages: list[Any] = []
    more: dict[str, str] = {}
    while True:
        page = await side.ask("", "GET", CM, limit="2", **OURS, **more)
        metadata = page.body["metadata"]
        pages.append((_names(page.body), sorted(metadata), metadata.get("remainingItemCount")))
        if not metadata.get("continue"):
            break
        more = {"continue": metadata["continue"]}
    side.record("pages", pages)
    await side.send("metadata", "GET", CM, accept=METADATA_LIST, limit="1", **OURS)
    await side.send("whole", "GET", CM, limit="1", fieldSelector="metadata.name=c1")
    for name, query in {
        "bad continue": {"continue": "nonsense", "limit": "1"},
        "bad limit": {"limit": "x"},
        "negative limit": {"limit": "-1"},
        "match without version": {"resourceVersionMatch": "Exact"},
        "match of nothing": {"resourceVersion": "1", "resourceVersionMatch": "Sometimes"},
        "exact zero": {"resourceVersion": "0", "resourceVersionMatch": "Exact"},
        "version that is none": {"resourceVersion": "x"},
        "continue with version": {"resourceVersion": "5", "continue": "x"},
    }.items():
        answer = await side.ask(name, "GET", CM, **query)
        side.record(name, answer.body if answer.status != 200 else "a list", status=answer.status)
    listed = await side.ask("", "GET", CM, **OURS)
    far = str(int(listed.version) + 1_000_000)
    answer = await side.ask("", "GET", CM, resourceVersion=far, **OURS)
    side.record("a version to come", (answer.status, answer.body.get("reason"), answer.body.get("details")))
    exact = {"resourceVersion": listed.version, "resourceVersionMatch": "Exact"}
    answer = await side.ask("", "GET", CM, **exact, **OURS)
    side.record("an exact version", (answer.status, _names(answer.body)))
    await side.send("a namespace that is not", "GET", "/api/v1/namespaces/none/configmaps")


async def tables(side: Side) -> None:
    """Tables of the kinds that people look at: columns, and the cells of an object."""
    pod = of_every_kind()["Pod"]
    kinds = [obj for obj in of_every_kind().values() if obj["kind"] != "Namespace"]
    plain = {obj["kind"]: obj for obj in kinds if obj["kind"] not in ("Service", "Pod", "Secret")}
    for kind, obj in plain.items():
        obj["metadata"] = {"name": f"{side.namespace}-{kind.lower()}", "labels": {"x": "1"}}
        if kind in ("Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"):
            obj["spec"]["replicas"] = 0
        path = collection(obj, side.namespace)
        made = await side.ask("", "POST", path, obj)
        if made.status == 201:
            name = obj["metadata"]["name"]
            await side.send(kind, "GET", f"{path}/{name}", accept=TABLE)
        else:
            side.record(f"{kind} made", made.body, status=made.status)
    await side.send("empty pods", "GET", collection(pod, side.namespace), accept=TABLE)
    service = thing(
        "v1", "Service", spec={"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}]}
    )
    secret = of_every_kind()["Secret"]
    for obj in (service, secret):
        await side.ask("", "POST", collection(obj, side.namespace), obj)
        path = collection(obj, side.namespace)
        await side.send(f"list of {obj['kind']}", "GET", path, accept=TABLE, fieldSelector=_named(obj))
        await side.send(
            f"whole {obj['kind']}", "GET", path, accept=TABLE, includeObject="None", fieldSelector=_named(obj)
        )
    for obj in plain.values():
        if collection(obj, "x") == collection(obj, "y"):
            await side.ask("", "DELETE", f"{collection(obj, '')}/{obj['metadata']['name']}")
    await side.send("bad include", "GET", CM, accept=TABLE, includeObject="Half")
    await side.send("bad group", "GET", CM, accept="application/json;as=Table;g=x;v=v1")
    await side.send("metadata of one", "GET", CM, accept="application/json;as=PartialObjectMetadata;g=x;v=v1")


async def watches(side: Side) -> None:
    """What happened comes in order, with the object as it was; what enters a selection is ADDED."""
    start = await side.ask("", "GET", CM)
    await side.ask("", "POST", CM, config_map("a", {"n": "1"}, labels={"x": "1"}))
    await side.patch("change", f"{CM}/a", {"data": {"n": "2"}})
    await side.patch("leave", f"{CM}/a", {"metadata": {"labels": {"x": "2"}}})
    await side.ask("", "POST", CM, config_map("b", labels={"x": "1"}, finalizers=["x.org/a"]))
    await side.patch("enter", f"{CM}/a", {"metadata": {"labels": {"x": "1"}}})
    await side.ask("", "DELETE", f"{CM}/b")
    await side.patch("goes", f"{CM}/b", {"metadata": {"finalizers": None}})
    await side.ask("", "DELETE", f"{CM}/a")
    for name, selector in (("all", ""), ("x=1", "x=1"), ("x=2", "x=2")):
        events = []
        watch = side.client.watch(
            GroupVersionResource("v1", "configmaps"),
            resource_version=start.version,
            namespace=side.namespace,
            label_selector=selector,
            timeout_seconds=1,
        )
        async for kind, obj in watch:
            if kind == "BOOKMARK" or obj["metadata"].get("name") == "kube-root-ca.crt":
                continue
            metadata = obj["metadata"]
            events.append(
                (kind, metadata["name"], metadata["labels"], obj.get("data"), "deletionTimestamp" in metadata)
            )
        side.record(f"events {name}", events)
    await side.send("a version that is none", "GET", CM, watch="1", resourceVersion="x")
    await side.send(
        "initial events without match", "GET", CM, watch="1", sendInitialEvents="true", timeoutSeconds="1"
    )
    await side.send(
        "match without initial events",
        "GET",
        CM,
        watch="1",
        resourceVersionMatch="NotOlderThan",
        resourceVersion="1",
    )
    await side.create("two", config_map("c"))
    await streaming_list(side)


async def streaming_list(side: Side) -> None:
    """A streaming list ends with a bookmark that says so."""
    query = {
        "watch": "1",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "1",
        "fieldSelector": "metadata.name=c",
    }
    answer = await side.ask("", "GET", CM, **query)
    lines = (
        [orjson.loads(line) for line in str(answer.body).splitlines()]
        if isinstance(answer.body, str)
        else [answer.body]
    )
    side.record("streamed", [(e["type"], e["object"]["metadata"].get("annotations")) for e in lines[:2]])


async def custom_kinds(side: Side) -> None:
    """A custom kind is defaulted, pruned, validated, applied, scaled and listed as a Table."""
    group = f"{side.namespace}.example.com"
    spec: dict[str, Any] = {
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10},
            "color": {"type": "string", "default": "red", "enum": ["red", "blue"]},
            "code": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
            "replicas": {"type": "integer"},
            "port": {"x-kubernetes-int-or-string": True},
            "maybe": {"type": "string", "nullable": True},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "map": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "value": {"type": "integer", "default": 5}},
                },
            },
        },
    }
    status = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
    }
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "versions": [version],
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": [f"w{side.namespace}"]},
        },
    }
    await side.create("crd", crd, dryRun="All")
    made = await side.ask("", "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    assert made.status == 201, made
    path = f"/apis/{group}/v1/namespaces/{{ns}}/widgets"

    async def served() -> bool:
        return (await side.ask("", "GET", path)).status == 200

    await until(served, what="the custom kind is served")

    def widget(name: str = "w", **spec: Any) -> dict[str, Any]:
        return {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}

    bad: list[dict[str, Any]] = [
        {},
        {"size": 0},
        {"size": 11},
        {"size": "3"},
        {"size": 1.5},
        {"size": 1, "color": "green"},
        {"size": 1, "code": "ABCD"},
        {"size": 1, "set": ["a", "a"]},
        {"size": 1, "map": [{"name": "a"}, {"name": "a"}]},
        {"size": 1, "map": [{"value": 1}]},
        {"size": 1, "port": []},
        {"size": 1, "nope": {"a": 1}},
        {"size": 1, "any": {"a": [1]}, "maybe": None, "port": "http", "map": [{"name": "a"}]},
        {"size": 1, "color": None},
        {"size": None},
    ]
    for index, fields in enumerate(bad):
        for mode in ("Strict", "Warn"):
            await side.send(
                f"{index} {mode}",
                "POST",
                path,
                widget(**fields),
                dryRun="All",
                fieldValidation=mode,
                fieldManager="c",
            )
    item = f"{path}/w"
    one = widget(size=1, set=["a", "b"], map=[{"name": "a", "value": 1}])
    two = widget(size=1, set=["b", "c"], map=[{"name": "a"}, {"name": "b", "value": 2}])
    await side.patch("apply", item, one, "apply", fieldManager="m")
    await side.patch("apply two", item, two, "apply", fieldManager="n")
    await side.patch("apply conflict", item, widget(size=2), "apply", fieldManager="n")
    await side.patch("apply less", item, widget(size=1, set=["a"]), "apply", fieldManager="m")
    await side.patch("merge", item, {"spec": {"replicas": 2, "maybe": None}})
    await side.patch("strategic", item, {"spec": {"replicas": 3}}, "strategic")
    await side.patch("status", f"{item}/status", {"status": {"replicas": 2}, "spec": {"size": 9}})
    await side.send("scale", "GET", f"{item}/scale")
    await side.patch("scaled", f"{item}/scale", {"spec": {"replicas": 5}})
    await side.send("table", "GET", path, accept=TABLE)
    for selector in ("spec.size=1", "spec.size!=1", "spec.color!=red", "metadata.name=w"):
        await side.send(f"fields {selector}", "GET", path, fieldSelector=selector)
    await side.send("list", "GET", path)
    await side.send("delete", "DELETE", item)
    await side.ask("", "DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}")


async def generated(side: Side) -> None:
    """generateName, and names that are taken."""
    obj = config_map("")
    obj["metadata"] = {"generateName": "gen-"}
    made = await side.ask("", "POST", CM, obj)
    name = made.body["metadata"]["name"]
    side.record("generated", (name.startswith("gen-"), len(name), made.body["metadata"]["generateName"]))
    await side.create("first", deployment(container("a"), replicas=0))
    await side.create("second", deployment(container("a"), replicas=0))


def _names(page: dict[str, Any]) -> list[str]:
    return [
        item["metadata"]["name"] for item in page["items"] if item["metadata"]["name"] != "kube-root-ca.crt"
    ]


def _named(obj: dict[str, Any]) -> str:
    return f"metadata.name={obj['metadata']['name']}"
