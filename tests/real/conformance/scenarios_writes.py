"""Writes: server-side apply by several managers, patches, updates and deletes. Next: `scenarios_reads`."""

from __future__ import annotations

from typing import Any

from hanse.kube.model.objects import Object
from tests.real.conformance.objects import config_map, container, deployment, of_every_kind, thing
from tests.real.conformance.sides import TABLE, Side, collection

CM = "/api/v1/namespaces/{ns}/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{ns}/deployments"


async def every_kind(side: Side) -> None:
    """Create and apply an object of every kind, without storing it."""
    for name, obj in of_every_kind().items():
        await side.create(f"create {name}", obj, dryRun="All", fieldValidation="Strict")
        await side.apply(f"apply {name}", obj, dryRun="All", fieldValidation="Strict")


async def stored_kinds(side: Side) -> None:
    """Create objects, replace them by what came back, and change one field of each."""
    for name, obj in of_every_kind().items():
        if name in (
            "Deployment",
            "Service-3",
            "StatefulSet",
            "Ingress",
            "Secret",
            "NetworkPolicy",
            "PodTemplate",
        ):
            made = await side.create(f"create {name}", obj)
            path = f"{collection(obj, '{ns}')}/{obj['metadata']['name']}"
            if made.status != 201:
                continue
            same = await side.send(f"same {name}", "PUT", path, made.body, fieldManager="u")
            side.record(f"same {name} is not written", same.version == made.version)
            labels = {"metadata": {"labels": {"x": "y"}, "annotations": {"n": "1"}}}
            await side.patch(f"label {name}", path, labels)
            await side.patch(f"unlabel {name}", path, {"metadata": {"labels": None}}, "strategic")
            await side.send(f"status {name}", "GET", f"{path}/status")


async def apply_config_maps(side: Side) -> None:
    """Two managers share, take over and let go of the data, labels and finalizers of a ConfigMap."""
    steps: list[tuple[Object, str, bool]] = [
        (config_map("q", {"a": "1", "b": "2"}, labels={"x": "1"}, finalizers=["x.org/a"]), "m", False),
        (config_map("q", {"b": "2", "c": "3"}, labels={"y": "1"}, finalizers=["x.org/b"]), "n", False),
        (config_map("q", {"a": "9"}), "n", False),
        (config_map("q", {"a": "9", "b": "9"}), "n", False),
        (config_map("q", {"a": "9"}), "n", True),
        (config_map("q", {"b": "2"}), "m", False),
        (config_map("q", {"b": None}), "m", False),
        (config_map("q", {"a": None, "z": None}), "o", False),
        (config_map("q"), "n", False),
        (config_map("q", {}), "m", False),
        (config_map("q", None, labels=None, finalizers=[]), "m", False),
        (config_map("q", None, labels={}), "m", False),
        (config_map("q", {"e": ""}, annotations={"k": None}), "m", False),
    ]
    for index, (obj, manager, force) in enumerate(steps):
        await side.apply(f"{index} {manager}", obj, manager, force=str(force).lower())
    await side.patch("merge over", f"{CM}/q", {"data": {"e": "2"}})
    await side.apply("conflict with an update", config_map("q", {"e": "3"}), "m")
    await side.patch("finalizers off", f"{CM}/q", {"metadata": {"finalizers": None}})
    await side.patch("unmanaged", f"{CM}/q", {"metadata": {"managedFields": [{}]}})
    await side.apply("after unmanaged", config_map("q", {"f": "3"}), "m")


async def apply_deployments(side: Side) -> None:
    """Lists with keys are merged item by item; nulls, empty lists and duplicates mean what they mean."""
    env = [{"name": "A", "value": "1"}]
    steps: list[tuple[Object, str, bool]] = [
        (
            deployment(container("a", env=env, ports=[{"containerPort": 80}]), container("b"), replicas=0),
            "m",
            False,
        ),
        (deployment(container("d"), container("b"), replicas=0), "n", False),
        (
            deployment(container("b"), container("a", ports=[{"containerPort": 80, "protocol": "UDP"}])),
            "m",
            False,
        ),
        (deployment(container("e"), container("d", image="i:2")), "n", False),
        (deployment(container("e", env=None), container("e")), "n", False),
        (deployment(container("a"), nope=1), "o", False),
        (deployment({"image": "x"}), "o", False),
        (deployment(container("x", env=[]), strategy=None, replicas=None), "n", True),
        (deployment(container("x", env=[]), replicas=None), "n", False),
        (deployment(container("x", env=[{"name": "A", "value": None}])), "n", False),
        (deployment(container("x", resources={"limits": {"cpu": "1000m"}})), "n", False),
        (deployment(container("x", resources={"limits": {"cpu": 1}})), "k", False),
        (deployment(container("x", resources={"limits": {"cpu": 2}})), "k", False),
        (deployment(container("x"), replicas=3, paused=True), "k", False),
    ]
    for index, (obj, manager, force) in enumerate(steps):
        await side.apply(f"{index} {manager}", obj, manager, force=str(force).lower())
    path = f"{DEPLOYMENTS}/q"
    await side.patch("scale", f"{path}/scale", {"spec": {"replicas": 4}})
    await side.apply("conflict with scale", deployment(container("x"), replicas=3), "k")
    status = {"apiVersion": "apps/v1", "kind": "Deployment", "status": {"replicas": 4, "readyReplicas": 1}}
    await side.patch("status", f"{path}/status", status, "apply", fieldManager="s")
    await side.patch(
        "status ignores spec", f"{path}/status", {"spec": {"replicas": 9}, "status": {"replicas": 5}}
    )
    await side.patch("spec ignores status", path, {"spec": {"replicas": 1}, "status": {"replicas": 9}})


async def apply_services(side: Side) -> None:
    """Ports are kept apart by number and protocol, also where the protocol is only the default."""

    def service(*ports: Object, **spec: Any) -> Object:
        return thing(
            "v1",
            "Service",
            spec={"clusterIP": "None", "selector": {"app": "a"}, "ports": list(ports), **spec},
        )

    await side.apply("one port", service({"name": "a", "port": 80}), "m")
    await side.apply("another port", service({"name": "u", "port": 80, "protocol": "UDP"}), "n")
    await side.apply("the default said", service({"name": "a", "port": 80, "protocol": "TCP"}), "o")
    await side.apply("conflict", service({"name": "b", "port": 80}), "p")
    await side.apply("rename", service({"name": "b", "port": 80}), "p", force="true")
    await side.apply("let go", service(), "m")
    await side.apply("selector", service(selector={"a": "b"}), "n")
    await side.apply("selector conflict", service(selector={"a": "c"}), "o")


async def strategic_patches(side: Side) -> None:
    """Strategic merge patches with all directives, without storing what comes of it."""
    made = deployment(container("a", env=[{"name": "A", "value": "1"}]), container("b"), replicas=2)
    made["metadata"] |= {"labels": {"x": "1"}, "finalizers": ["x.org/a"]}
    await side.create("create", made)

    def containers(*items: Object, **more: Any) -> Object:
        return {"spec": {"template": {"spec": {"containers": list(items), **more}}}}

    patches: list[Any] = [
        containers({"name": "z", "image": "i:9"}),
        containers({"name": "b", "image": "i:7", "$patch": "merge"}),
        containers({"name": "b", "$patch": "delete"}),
        containers(
            {"name": "y", "image": "i:9"}, **{"$setElementOrder/containers": [{"name": "y"}, {"name": "a"}]}
        ),
        containers({"name": "k", "image": "i:9"}, {"$patch": "replace"}),
        containers({"name": "a", "env": [{"name": "A", "$patch": "delete"}, {"name": "B", "value": "2"}]}),
        containers({"image": "x"}),
        containers({"name": "a", "image": None}),
        containers({"name": "a", "resources": {"limits": {"cpu": 1.5}}}),
        {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
        {"spec": {"strategy": {"type": "Recreate"}}},
        {"spec": {"$patch": "zap"}},
        {"spec": {"replicas": None}},
        {"spec": {"template": None}},
        {"spec": {"template": {"spec": {"$patch": "replace", "containers": [container("only")]}}}},
        {"metadata": {"labels": {"$patch": "replace", "q": "1"}}},
        {"metadata": {"labels": {"$patch": "merge", "q": "1"}}},
        {"metadata": {"labels": None}},
        {"metadata": {"finalizers": ["x.org/z", "x.org/a"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x.org/a"]}},
        {"metadata": {"name": "other"}},
        {"unknown": 1},
        {"spec": {"replicas": "many"}},
        [1],
    ]
    for index, patch in enumerate(patches):
        await side.patch(f"{index}", f"{DEPLOYMENTS}/q", patch, "strategic", dryRun="All")


async def other_patches(side: Side) -> None:
    """JSON patches and merge patches, good and bad."""
    await side.create("create", config_map("q", {"a": "1", "b": "2"}, annotations={"x/y": "1"}))
    path = f"{CM}/q"
    operations: list[Any] = [
        [{"op": "add", "path": "/data/c", "value": "3"}, {"op": "remove", "path": "/data/a"}],
        [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "5"}],
        [{"op": "test", "path": "/data/a", "value": "2"}],
        [{"op": "replace", "path": "/data/none", "value": "2"}],
        [{"op": "remove", "path": "/data/none"}],
        [{"op": "move", "from": "/data/a", "path": "/data/z"}],
        [{"op": "copy", "from": "/data/a", "path": "/data/z"}],
        [{"op": "add", "path": "/metadata/annotations/x~1z", "value": "2"}],
        [{"op": "add", "path": "/data/deep/er", "value": "2"}],
        [{"op": "fly", "path": "/data/a"}],
        [{"op": "add", "path": "/data/c", "value": 3}],
        [{"op": "add", "path": "/nope", "value": 3}],
        {"op": "add"},
        [],
    ]
    for index, patch in enumerate(operations):
        await side.patch(f"json {index}", path, patch, "json", dryRun="All")
    merges: list[Any] = [
        {"data": {"a": None, "c": "3"}},
        {"data": None},
        {"data": {"a": 1}},
        {},
        {"nope": 1},
        [],
        {"metadata": {"annotations": {"x/y": None}}},
        {"metadata": {"resourceVersion": "1"}},
        {"metadata": {"uid": "x"}},
        {"kind": "Secret"},
        {"apiVersion": "v2"},
        {"metadata": {"generateName": "x-", "generation": 9, "creationTimestamp": None}},
    ]
    for index, patch in enumerate(merges):
        await side.patch(f"merge {index}", path, patch, dryRun="All")
        await side.patch(f"merge strict {index}", path, patch, dryRun="All", fieldValidation="Strict")


async def updates(side: Side) -> None:
    """Updates under an optimistic lock, without one, and of what may not change."""
    made = await side.create("create", config_map("q", {"a": "1"}))
    path = f"{CM}/q"
    base = made.body
    await side.send("update", "PUT", path, {**base, "data": {"a": "2"}}, fieldManager="u")
    await side.send("conflict", "PUT", path, {**base, "data": {"a": "3"}}, fieldManager="u")
    await side.send("without a version", "PUT", path, config_map("q", {"b": "1"}), fieldManager="u")
    newer = str(int(made.version) + 1_000_000)
    await side.send("a version to come", "PUT", path, config_map("q", {"b": "1"}, resourceVersion=newer))
    await side.patch("merge of a version to come", path, {"metadata": {"resourceVersion": newer}})
    await side.apply("apply of a version to come", config_map("q", {"c": "1"}, resourceVersion=newer))
    await side.send("another uid", "PUT", path, config_map("q", uid="11111111-1111-1111-1111-111111111111"))
    await side.send("another name", "PUT", path, config_map("r"))
    await side.send("another namespace", "PUT", path, config_map("q", namespace="other"))
    await side.send("missing", "PUT", f"{CM}/none", config_map("none"))
    await side.send("missing with a version", "PUT", f"{CM}/none", config_map("none", resourceVersion="1"))
    await side.send("a version that is none", "PUT", path, config_map("q", resourceVersion="x"))
    await side.send("immutable", "PUT", path, {**config_map("q", {"b": "1"}), "immutable": True})
    await side.send("immutable data", "PUT", path, {**config_map("q", {"b": "2"}), "immutable": True})
    await side.create("deployment", deployment(container("a"), replicas=0))
    other = deployment(container("a"))
    other["spec"] |= {"selector": {"matchLabels": {"app": "b"}}}
    other["spec"]["template"]["metadata"]["labels"] = {"app": "b"}
    await side.send("selector", "PUT", f"{DEPLOYMENTS}/q", other)
    await side.send("scale", "GET", f"{DEPLOYMENTS}/q/scale")
    await side.send("scale table", "GET", f"{DEPLOYMENTS}/q/scale", accept=TABLE)
    scale = {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "q"},
        "spec": {"replicas": 2},
    }
    await side.send("scaled", "PUT", f"{DEPLOYMENTS}/q/scale", scale, fieldManager="u")
    scale["spec"] = {"replicas": -1}
    await side.send("scaled below zero", "PUT", f"{DEPLOYMENTS}/q/scale", scale)


async def deletes(side: Side) -> None:
    """Deletes with preconditions, finalizers, grace, propagation; twice; of nothing; of collections."""
    made = await side.create("create", config_map("q"))
    options = {"apiVersion": "v1", "kind": "DeleteOptions"}
    path = f"{CM}/q"

    async def delete(label: str, where: str, **more: Any) -> None:
        await side.send(label, "DELETE", where, {**options, **more})

    await delete("another uid", path, preconditions={"uid": "11111111-1111-1111-1111-111111111111"})
    await delete("another version", path, preconditions={"resourceVersion": "1"})
    for name, version in {"to come": str(int(made.version) + 1_000_000), "zero": "0", "none": ""}.items():
        await delete(f"version {name}", path, preconditions={"resourceVersion": version})
    await delete("bad propagation", path, propagationPolicy="Sideways")
    await delete("two propagations", path, propagationPolicy="Orphan", orphanDependents=True)
    await delete("negative grace", path, gracePeriodSeconds=-1)
    await delete("dry run", path, dryRun=["All"])
    await delete("bad dry run", path, dryRun=["Some"])
    uid = made.body["metadata"]["uid"]
    await delete("right uid", path, preconditions={"uid": uid, "resourceVersion": made.version})
    await delete("again", path)
    await side.create("with a finalizer", config_map("f", finalizers=["x.org/a"]))
    await delete("waits", f"{CM}/f", propagationPolicy="Background")
    await delete("waits again", f"{CM}/f")
    await side.apply("apply to a deleted one", config_map("f", {"a": "1"}))
    await side.patch("another finalizer", f"{CM}/f", {"metadata": {"finalizers": ["x.org/a", "x.org/b"]}})
    await side.patch("goes", f"{CM}/f", {"metadata": {"finalizers": None}})
    await side.send("gone", "GET", f"{CM}/f")
    for policy in ("Foreground", "Orphan"):
        obj = deployment(container("a"), name=policy.lower(), replicas=0)
        await side.create(f"for {policy}", obj)
        await delete(policy, f"{DEPLOYMENTS}/{policy.lower()}", propagationPolicy=policy)
        await side.send(f"after {policy}", "GET", f"{DEPLOYMENTS}/{policy.lower()}")
    for name in ("a", "b", "c"):
        await side.ask("", "POST", CM, config_map(name, labels={"x": str(name == "c")}))
    await delete("collection", f"{CM}?labelSelector=x%3DFalse")
    listed = await side.ask("", "GET", CM)
    names = {item["metadata"]["name"] for item in listed.body["items"]} - {"kube-root-ca.crt"}
    side.record("left", sorted(names))
