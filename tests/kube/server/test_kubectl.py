"""kubectl can do what people do with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from tests.kube.server.world import DEPLOYMENTS, Kubectl, World, config_map, deployment, widget_crd
from tests.support.waiting import until

pytestmark = pytest.mark.kubectl


def update_image(manifest: Path) -> None:
    """Name another image in the file."""
    manifest.write_text(manifest.read_text().replace("nginx:1", "nginx:2"))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A file with a Deployment, a Service and a ConfigMap."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}], "type": "LoadBalancer"},
    }
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump_all([deployment(), service, config_map("conf", a="1")]))
    return path


async def test_apply_diff_and_apply_again(kubectl: Kubectl, manifest: Path) -> None:
    """Client-side apply creates, then finds nothing to do; diff shows what would change."""
    first = await kubectl("apply", "-f", str(manifest))
    assert first.count("created") == 3
    assert (await kubectl("apply", "-f", str(manifest))).count("unchanged") == 3
    assert await kubectl("diff", "-f", str(manifest)) == ""
    update_image(manifest)
    changed = await kubectl.run("diff", "-f", str(manifest))
    assert changed.code == 1
    assert "+      - image: nginx:2" in changed.out
    configured = await kubectl("apply", "-f", str(manifest))
    assert "deployment.apps/web configured" in configured
    assert configured.count("unchanged") == 2


async def test_server_side_apply_names_the_conflict(kubectl: Kubectl, manifest: Path) -> None:
    """A field of another manager is a conflict that kubectl explains, until it is forced."""
    await kubectl("apply", "--server-side", "--field-manager=one", "-f", str(manifest))
    update_image(manifest)
    two = ("apply", "--server-side", "--field-manager=two", "-f", str(manifest))
    refused = await kubectl.run(*two)
    assert 'conflict with "one"' in refused.err
    assert '.spec.template.spec.containers[name="web"].image' in refused.err
    assert "serverside-applied" in await kubectl(*two, "--force-conflicts")


async def test_get_in_every_form(kubectl: Kubectl, manifest: Path) -> None:
    """Tables, wide tables, names, JSON, YAML, columns of one's own, all namespaces, chunks."""
    await kubectl("apply", "-f", str(manifest))
    table = await kubectl("get", "deploy,svc,cm")
    assert "deployment.apps/web   0/2     0            0" in table
    assert "LoadBalancer   <none>       <pending>     80/TCP" in table
    assert "nginx:1   app=web" in await kubectl("get", "deploy", "-o", "wide")
    assert await kubectl("get", "deploy", "-l", "app=web", "-o", "name") == "deployment.apps/web\n"
    assert (await kubectl.json("get", "cm", "conf"))["data"] == {"a": "1"}
    columns = "custom-columns=N:.metadata.name,R:.spec.replicas"
    assert (await kubectl("get", "deploy", "-o", columns)).split() == ["N", "R", "web", "2"]
    assert "conf" in await kubectl("get", "cm", "-A", "--chunk-size=1")
    assert "conf" in await kubectl("get", "cm", "--field-selector", "metadata.name=conf")
    assert "service/web" in await kubectl("get", "all")
    missing = await kubectl.run("get", "cm", "nope")
    assert missing.err == 'Error from server (NotFound): configmaps "nope" not found\n'


async def test_watching_a_table(kubectl: Kubectl, world: World, manifest: Path) -> None:
    """`get -w` prints a row for each change."""
    await kubectl("apply", "-f", str(manifest))
    watching = asyncio.create_task(
        kubectl.run("get", "deploy", "-w", "--output-watch-events", "--request-timeout=4s")
    )
    async with world.client() as client:

        async def watched() -> bool:
            return bool(world.engine.cache.log("apps", "deployments").readers)

        await until(watched, what="kubectl watches")
        await client.patch(
            DEPLOYMENTS,
            "web",
            {"status": {"readyReplicas": 2, "replicas": 2}},
            namespace="default",
            subresource="status",
        )
        await client.delete(DEPLOYMENTS, "web", namespace="default")
    lines = [line.split()[:3] for line in (await watching).out.splitlines()]
    assert lines[1:] == [["ADDED", "web", "0/2"], ["MODIFIED", "web", "2/2"], ["DELETED", "web", "2/2"]]


async def test_changing_things(kubectl: Kubectl, manifest: Path) -> None:
    """scale, patch in three ways, label, annotate, set image, edit, replace, rollout restart."""
    await kubectl("apply", "-f", str(manifest))
    await kubectl("scale", "deploy/web", "--replicas=5")
    await kubectl("patch", "deploy", "web", "-p", '{"spec":{"minReadySeconds":1}}')
    await kubectl("patch", "deploy", "web", "--type=merge", "-p", '{"spec":{"paused":true}}')
    operations = '[{"op":"remove","path":"/spec/paused"},{"op":"test","path":"/spec/replicas","value":5}]'
    await kubectl("patch", "deploy", "web", "--type=json", "-p", operations)
    await kubectl("label", "deploy", "web", "tier=front")
    await kubectl("annotate", "deploy", "web", "note=x")
    await kubectl("set", "image", "deploy/web", "web=nginx:9")
    await kubectl("rollout", "restart", "deploy/web")
    web = await kubectl.json("get", "deploy", "web")
    container = web["spec"]["template"]["spec"]["containers"][0]
    assert (web["spec"]["replicas"], web["spec"]["minReadySeconds"], container["image"]) == (5, 1, "nginx:9")
    assert web["metadata"]["labels"]["tier"] == "front"
    assert web["metadata"]["annotations"]["note"] == "x"
    assert "kubectl.kubernetes.io/restartedAt" in web["spec"]["template"]["metadata"]["annotations"]
    editor = {"KUBE_EDITOR": "sed -i 's/^  a: .*/  a: edited/'"}
    assert "edited" in await kubectl("edit", "cm", "conf", environment=editor)
    assert (await kubectl.json("get", "cm", "conf"))["data"] == {"a": "edited"}
    assert "configmap/conf replaced" in await kubectl("replace", "-f", str(manifest))


async def test_waiting_and_rollouts(kubectl: Kubectl, world: World, manifest: Path) -> None:
    """`wait` and `rollout status` end when the status says so."""
    await kubectl("apply", "-f", str(manifest))
    waiting = asyncio.create_task(kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=10s"))
    rolling = asyncio.create_task(kubectl("rollout", "status", "deploy/web", "--timeout=10s"))
    status = {
        "observedGeneration": 1,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "conditions": [{"type": "Available", "status": "True"}],
    }
    async with world.client() as client:
        await client.patch(DEPLOYMENTS, "web", {"status": status}, namespace="default", subresource="status")
    assert "condition met" in await waiting
    assert "successfully rolled out" in await rolling


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
async def test_deleting_and_waiting(kubectl: Kubectl, manifest: Path, cascade: str) -> None:
    """`delete --wait` ends when the object is gone, whatever happens to dependents."""
    await kubectl("apply", "-f", str(manifest))
    await kubectl("delete", "deploy", "web", f"--cascade={cascade}", "--wait", "--timeout=10s")
    assert "NotFound" in (await kubectl.run("get", "deploy", "web")).err


async def test_a_namespace_goes_with_what_is_in_it(kubectl: Kubectl) -> None:
    """`delete ns` waits for the contents and ends."""
    await kubectl("create", "ns", "shop")
    await kubectl("-n", "shop", "create", "cm", "a", "--from-literal=x=1")
    await kubectl("delete", "ns", "shop", "--timeout=10s")
    assert (await kubectl("get", "ns", "-o", "name")).count("shop") == 0


async def test_creating_by_command(kubectl: Kubectl) -> None:
    """kubectl's generators send protobuf; the objects are those that YAML would have made."""
    await kubectl("create", "deployment", "d", "--image=nginx", "--replicas=0", "--port=80")
    await kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    await kubectl("create", "job", "j", "--image=busybox", "--", "true")
    await kubectl("create", "cronjob", "c", "--image=busybox", "--schedule=* * * * *")
    await kubectl("create", "service", "nodeport", "n", "--tcp=80:8080")
    await kubectl("create", "ingress", "i", "--rule=example.org/path=n:80")
    await kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    await kubectl("create", "rolebinding", "rb", "--role=r", "--user=u")
    await kubectl("create", "quota", "q", "--hard=pods=1,cpu=500m")
    await kubectl("autoscale", "deploy", "d", "--min=1", "--max=5", "--cpu-percent=50")
    await kubectl("run", "p", "--image=nginx", "--env=A=B", "--labels=x=y")
    made = await kubectl.json("get", "deploy", "d")
    assert made["spec"]["replicas"] == 0
    assert made["spec"]["template"]["spec"]["containers"][0]["ports"] == [
        {"containerPort": 80, "protocol": "TCP"}
    ]
    assert (await kubectl.json("get", "secret", "s"))["data"] == {"a": "Yg=="}
    port = (await kubectl.json("get", "svc", "n"))["spec"]["ports"][0]
    assert (port["port"], port["targetPort"]) == (80, 8080)
    rule = (await kubectl.json("get", "ing", "i"))["spec"]["rules"][0]
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": "n", "port": {"number": 80}}
    assert (await kubectl.json("get", "quota", "q"))["spec"]["hard"] == {"pods": "1", "cpu": "500m"}
    assert "cpu: <unknown>/50%" in await kubectl("get", "hpa", "d")
    pod = await kubectl.json("get", "pod", "p")
    assert (pod["metadata"]["labels"], pod["spec"]["containers"][0]["env"]) == (
        {"x": "y"},
        [{"name": "A", "value": "B"}],
    )


async def test_finding_out_about_the_server(kubectl: Kubectl) -> None:
    """Discovery, explain, describe, whoami, can-i, version, cluster-info."""
    resources = await kubectl("api-resources")
    assert "deployments" in resources
    assert "hanse.dev/v1alpha1" in resources
    assert "federation/v1beta1" in await kubectl("api-versions")
    assert "DeploymentStrategy" in await kubectl("explain", "deployment.spec.strategy")
    assert "KIND:       Cluster\nVERSION:    v1alpha1" in await kubectl("explain", "clusters")
    assert "maxClusters" in await kubectl("explain", "placementpolicies.spec")
    assert "Username    admin" in await kubectl("auth", "whoami")
    assert await kubectl("auth", "can-i", "create", "deployments") == "yes\n"
    assert "Server Version: v1." in await kubectl("version")
    assert "is running at" in await kubectl("cluster-info")
    assert await kubectl("get", "--raw", "/readyz") == "ok"


async def test_describing_and_history(kubectl: Kubectl, manifest: Path) -> None:
    """describe reads related objects and events; history lists revisions."""
    await kubectl("apply", "-f", str(manifest))
    described = await kubectl("describe", "deploy", "web")
    assert "Replicas:               2 desired" in described
    assert "Events:" in described
    assert "LoadBalancer" in await kubectl("describe", "svc", "web")
    assert "deployment.apps/web" in await kubectl("rollout", "history", "deploy/web")


async def test_clusters_are_hanses_own(kubectl: Kubectl) -> None:
    """`kubectl get clusters` means hanse.dev and prints its columns."""
    cluster = {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "eu-west"},
        "spec": {"server": "https://x:1"},
    }
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(cluster))
    lines = (await kubectl("get", "clusters")).splitlines()
    columns = ["NAME", "READY", "STATE", "CORDONED", "TAINTS", "REGION", "ZONES", "VERSION", "AGE"]
    assert lines[0].split() == columns
    assert lines[1].startswith("eu-west")
    assert "eu-west" in await kubectl("get", "clusters.federation")


async def test_custom_resources(kubectl: Kubectl) -> None:
    """A CRD's kind is used as soon as the CRD is there: get by short name, explain, scale, delete."""
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(widget_crd()))
    await kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=5s")
    body = {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": "default"},
        "spec": {"size": 3, "replicas": 1},
    }
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(body))
    assert (await kubectl("get", "wd")).split() == ["NAME", "SIZE", "w", "3"]
    assert "size\t<integer> -required-" in await kubectl("explain", "widgets.spec")
    await kubectl("scale", "widget/w", "--replicas=4")
    assert (await kubectl.json("get", "widget", "w"))["spec"]["replicas"] == 4
    await kubectl("delete", "crd", "widgets.example.com", "--timeout=10s")
    assert "the server could not find the requested resource" in (await kubectl.run("get", "widgets")).err


async def test_a_mistake_is_explained(kubectl: Kubectl) -> None:
    """Unknown fields, wrong types and broken rules are refused with the field's name."""
    typo = config_map("a")
    typo["dat"] = {}
    refused = await kubectl.run("create", "-f", "-", stdin=yaml.safe_dump(typo))
    assert 'strict decoding error: unknown field "dat"' in refused.err
    wrong = deployment()
    wrong["spec"]["replicas"] = "two"
    refused = await kubectl.run("create", "-f", "-", stdin=yaml.safe_dump(wrong))
    assert "cannot unmarshal string into field" in refused.err
    unmatched = deployment()
    unmatched["spec"]["template"]["metadata"]["labels"] = {"no": "match"}
    refused = await kubectl.run("apply", "-f", "-", stdin=yaml.safe_dump(unmatched))
    assert 'The Deployment "web" is invalid' in refused.err


async def test_a_list_is_applied(kubectl: Kubectl) -> None:
    """A `kind: List` is checked and applied, and so is what `get -o yaml` prints of many kinds."""
    items = [deployment(), config_map("conf", a="1")]
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items})
    assert (await kubectl("apply", "-f", "-", stdin=text)).count("created") == 2
    printed = await kubectl("get", "deploy,cm", "-n", "default", "-o", "yaml")
    assert "kind: List" in printed
    again = await kubectl("apply", "-f", "-", stdin=printed)
    assert (again.count("\n"), again.count("created")) == (2, 0)
    assert "created (server dry run)" in await kubectl(
        "apply", "--dry-run=server", "-f", "-", stdin=text.replace("conf", "other").replace("web", "two")
    )
    assert "other" not in await kubectl("get", "cm", "-o", "name")


async def test_mistakes_in_a_list_are_found_before_it_is_sent(kubectl: Kubectl) -> None:
    """kubectl checks the items of a List against the server's OpenAPI document: built-in and custom kinds."""
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(widget_crd()))
    await kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=5s")
    wrong = deployment()
    wrong["spec"]["template"]["spec"]["containers"][0]["imag"] = "x"
    wrong["spec"]["replicas"] = "two"
    meta = {"name": "w", "namespace": "default"}
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": meta, "spec": {"colour": "red"}}
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [wrong, widget]})
    refused = (await kubectl.run("apply", "-f", "-", stdin=text)).err
    assert 'unknown field "imag" in io.k8s.api.core.v1.Container' in refused
    assert (
        'invalid type for io.k8s.api.apps.v1.DeploymentSpec.replicas: got "string", expected "integer"'
        in refused
    )
    assert 'unknown field "colour" in com.example.v1.Widget.spec' in refused
    assert 'missing required field "size" in com.example.v1.Widget.spec' in refused


async def test_an_unknown_field_is_refused_on_create(kubectl: Kubectl) -> None:
    """One object is checked by the server, whose message kubectl prints as it prints that of a cluster."""
    wrong = deployment()
    wrong["spec"]["nope"] = 1
    refused = await kubectl.run("create", "-f", "-", stdin=yaml.safe_dump(wrong))
    assert 'strict decoding error: unknown field "spec.nope"' in refused.err
