"""Ownership that is taken over in a member, and manifests that an apply cannot deliver as they are."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hanse_syncer.decide import caveats, inapplicable, kinds, takeover

from hanse.kube.client.answer import Answer
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.merge.apply import server_side_apply
from hanse.kube.merge.managed import update_managed_fields, with_managed
from hanse.kube.merge.patch import merge_patch
from hanse.kube.merge.schema import SchemaSet
from hanse.well_known import FIELD_MANAGER

Object = dict[str, Any]
SCHEMAS = SchemaSet.builtin()
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def schema_of(obj: Object) -> Any:
    """Return the schema of an object's kind."""
    group, _, version = obj["apiVersion"].rpartition("/")
    return SCHEMAS.lookup(group, version, obj["kind"])


def made_by(manager: str, obj: Object, *, old: Object | None = None) -> Object:
    """Return what somebody stored without server-side apply."""
    fields = update_managed_fields(old, obj, manager=manager, schema=schema_of(obj), now=NOW)
    return with_managed(obj, fields)


def applied(live: Object | None, manifest: Object) -> Object:
    """Return what our apply makes of an object."""
    return server_side_apply(
        live, manifest, manager=FIELD_MANAGER, schema=schema_of(manifest), now=NOW, force=True
    )


def taken(live: Object, managed: list[Object] | None) -> Object:
    """Return the object with other managedFields."""
    assert managed is not None
    return with_managed(live, managed)


def deployment(**container: Any) -> Object:
    """A Deployment with one container."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "w", "labels": {"ours": "yes"}},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "a", **container}]}}},
    }


def pod_of(obj: Object) -> Object:
    """Return its Pod's spec."""
    spec: Object = obj["spec"]["template"]["spec"]
    return spec


def bare(obj: Object) -> Object:
    """Return the object without who owns what."""
    return with_managed(obj, [])


def test_what_was_written_by_update_is_replaced() -> None:
    """Fields that the manifest lacks go, list items that have another key and one-of fields are replaced."""
    legacy = deployment(
        env=[{"name": "MODE", "value": "x"}, {"name": "OLD", "value": "1"}],
        livenessProbe={"httpGet": {"path": "/", "port": 80}},
        ports=[{"containerPort": 80, "protocol": "TCP", "name": "http"}],
    )
    legacy["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    manifest = deployment(
        env=[{"name": "MODE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        livenessProbe={"tcpSocket": {"port": 8080}},
        ports=[{"containerPort": 8080, "protocol": "TCP", "name": "http"}],
    )
    live = made_by("kubectl-client-side-apply", legacy)
    stays = pod_of(bare(applied(live, manifest)))["containers"][0]
    assert len(stays["env"]) == 2  # what an apply alone leaves
    owned = taken(live, takeover.adopted(live, retained=()))
    assert bare(owned) == bare(live)
    assert bare(applied(owned, manifest)) == manifest


def test_taking_over_twice_is_once() -> None:
    """A process that was stopped between the two requests does the same again."""
    live = made_by("helm", deployment(tty=True))
    owned = taken(live, takeover.adopted(live, retained=()))
    assert takeover.adopted(owned, retained=()) is None
    assert bare(applied(owned, deployment())) == deployment()


def test_what_the_members_controllers_wrote_stays() -> None:
    """Finalizers, owners, annotations of controllers, and what the kind declares; a subresource too."""
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "finalizers": ["a/b"], "labels": {"old": "yes"}},
        "spec": {
            "clusterIP": "10.0.0.1",
            "selector": {"a": "b"},
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000, "name": "http"}],
        },
    }
    live = made_by("somebody", service)
    retained = kinds.retained_paths(service)
    owned = taken(live, takeover.adopted(live, retained=retained))
    manifest = {
        **{name: service[name] for name in ("apiVersion", "kind")},
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}]},
    }
    after = applied(owned, manifest)
    assert after["metadata"]["finalizers"] == ["a/b"]
    assert "labels" not in after["metadata"]
    assert after["spec"] == {
        "clusterIP": "10.0.0.1",
        "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}],
    }


@pytest.mark.parametrize("kind", list(kubernetes()), ids=repr)
def test_annotations_of_controllers_are_nobodys_to_take(kind: Any) -> None:
    """Of every kind."""
    live = {"apiVersion": "/".join(filter(None, (kind.group, kind.versions[0]))), "kind": kind.name}
    paths = kinds.retained_paths(live)
    assert "metadata.annotations[deployment.kubernetes.io/revision]" in paths
    name = "pv.kubernetes.io/bind-completed"
    fields: Object = {"f:metadata": {"f:annotations": {".": {}, f"f:{name}": {}}}}
    entry = {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsV1": fields}
    obj = {**live, "metadata": {"managedFields": [entry]}}
    found = takeover.adopted(obj, retained=paths)
    assert found is None or f"f:{name}" not in str(found[0])


def forbidden(field: str, message: str = "Forbidden: may not specify more than 1 volume type") -> Object:
    """A cause of a refusal."""
    return {"reason": "FieldValueForbidden", "message": message, "field": field}


def _swap(pod: Object) -> None:
    pod["volumes"][0] = {"name": "tmp", "hostPath": {"path": "/", "type": ""}}
    pod["containers"][0]["image"] = "evil"


def test_a_source_that_was_swapped_is_put_back() -> None:
    """Though an apply alone would leave both, which no API server stores."""
    manifest = deployment()
    pod_of(manifest)["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    live = applied(None, manifest)
    after = copy.deepcopy(live)
    _swap(pod_of(after))
    pod_of(after)["containers"].insert(0, {"name": "proxy", "image": "p"})
    after = made_by("kubectl-edit", after, old=live)
    assert pod_of(applied(after, manifest))["volumes"][0].keys() == {"name", "hostPath", "emptyDir"}
    causes = [forbidden("spec.template.spec.volumes[0].hostPath")]
    owned = taken(after, takeover.contested(after, manifest, causes, retained=()))
    right = pod_of(applied(owned, manifest))
    assert right["volumes"] == [{"name": "tmp", "emptyDir": {}}]
    assert [each["image"] for each in right["containers"]] == ["p", "a"]
    assert takeover.contested(owned, manifest, causes, retained=()) is None


CONTESTED: list[tuple[Object, Object, Object]] = [
    (
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]},
        {"env": [{"name": "A", "value": "1"}]},
        forbidden(
            "spec.template.spec.containers[0].env[0].valueFrom", "may not be specified when `value` is"
        ),
    ),
    (
        {"livenessProbe": {"tcpSocket": {"port": 1}}},
        {"livenessProbe": {"httpGet": {"path": "/", "port": 1}}},
        forbidden("spec.template.spec.containers[0].livenessProbe.tcpSocket", "more than 1 handler type"),
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "cause"), CONTESTED)
def test_a_one_of_that_others_filled_is_put_back(ours: Object, theirs: Object, cause: Object) -> None:
    """Also where the refusal names our own field: then what is beside it goes."""
    manifest = deployment(**ours)
    live = made_by("kubectl-edit", {**deployment(**theirs)}, old=applied(None, manifest))
    owned = taken(live, takeover.contested(live, manifest, [cause], retained=()))
    assert bare(applied(owned, manifest)) == manifest


def test_defaults_of_another_choice_go() -> None:
    """Nobody owns the parameters of a rolling update that the API server put there."""
    manifest = deployment()
    manifest["spec"]["strategy"] = {"type": "Recreate"}
    live = applied(None, deployment())
    live["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    cause = forbidden(
        "spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"
    )
    owned = taken(live, takeover.contested(live, manifest, [cause], retained=()))
    assert applied(owned, manifest)["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    "cause",
    [
        forbidden("spec.selector", "field is immutable"),
        forbidden("spec", "updates to statefulset spec for fields other than"),
        forbidden("spec.replicas", "must be greater"),
        forbidden("spec.template.spec.containers[0].image", "Required value"),
        forbidden(""),
        forbidden("metadata.name"),
        {"field": 7, "message": None},
        "x",
    ],
)
def test_other_refusals_move_no_ownership(cause: Any) -> None:
    """What no ownership helps with stands as the member said it."""
    live = made_by("edit", deployment(tty=True), old=applied(None, deployment()))
    live["spec"]["paused"] = True
    manifest = deployment(tty=False)
    assert takeover.contested(live, manifest, [cause], retained=()) is None


def said(message: str, status: int = 500) -> Answer:
    """What an API server says of a configuration."""
    return Answer(status, {}, b"", {"kind": "Status", "message": message})


PREFIX = "failed to create typed patch object (/one; skew.example.com/v1, Kind=Cart): "


def test_fields_that_a_schema_lacks_are_taken_out_and_named() -> None:
    """As kube-apiserver says it, names with dots and items by their key or place included."""
    cart = {
        "metadata": {"annotations": {"a.b/c": "x"}},
        "spec": {
            "size": 1,
            "color": "red",
            "l": [{"name": "a", "q": {"z": 1}}, {"name": "b", "q": 1}],
            "m.n": {"o": {"p": 1, "r": 2}},
        },
    }
    message = (
        f'{PREFIX}errors:\n  .spec.l[name="a"].q: field not declared in schema\n'
        "  .spec.l[1].q: field not declared in schema\n  .spec.m.n.o.p: field not declared in schema\n"
        "  .spec.color: field not declared in schema"
    )
    found = inapplicable.problems(said(message))
    assert found is not None
    assert (found.unmergeable, found.mistyped) == (False, False)
    single = inapplicable.problems(said(f"{PREFIX}.spec.color: field not declared in schema"))
    assert single is not None
    assert single.lacking == (".spec.color",)
    assert inapplicable.without(cart, found.lacking) == {
        "metadata": {"annotations": {"a.b/c": "x"}},
        "spec": {"size": 1, "l": [{"name": "a"}, {"name": "b"}], "m.n": {"o": {"r": 2}}},
    }
    caveat = inapplicable.lacking_caveat(found.lacking)
    assert caveat.reason == caveats.FIELDS_NOT_SERVED
    assert ".spec.color" in caveat.message
    assert inapplicable.without(cart, [".spec.other"]) is None


def test_a_message_full_of_what_could_be_paths_is_read_once() -> None:
    """A member may say anything: from each of 21,000 beginnings to the end took 20 s of everybody's time."""
    noise = " .a" * 21_000
    assert inapplicable.problems(said(noise)) is None
    found = inapplicable.problems(
        said(f"{noise}: field not declared in schema\n  .b: field not declared in schema")
    )
    assert found is not None
    assert found.lacking == (noise[1:], ".b")


def test_a_default_that_a_member_does_not_know_is_missed_by_nobody() -> None:
    """What the federation's own defaulting filled in is not the author's; the same field with another value
    is."""
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {"completionMode": "NonIndexed", "suspend": True, "template": {"spec": {"later": 1}}},
    }
    lacking = [".spec.completionMode", ".spec.suspend", ".spec.template.spec.later"]
    assert inapplicable.written(job, lacking) == lacking[1:]
    cart = {"apiVersion": "skew.example.com/v1", "kind": "Cart", "spec": {"color": "red"}}
    assert inapplicable.written(cart, [".spec.color"]) == [".spec.color"]


@pytest.mark.parametrize(
    ("message", "unmergeable", "mistyped"),
    [
        (f"{PREFIX}.spec.x: expected string, got &value.valueUnstructured{{Value:1}}", False, True),
        (f'{PREFIX}.spec.l: duplicate entries for key [name="a"]', True, False),
        (
            f'{PREFIX}.secrets: element 0: an element of the list omits all key fields ["name"]',
            True,
            False,
        ),
        (f"{PREFIX}.spec.size: expected numeric (int or float), got string", False, True),
    ],
)
def test_what_cannot_be_applied_is_told_apart(message: str, unmergeable: bool, mistyped: bool) -> None:
    """From the member's own trouble, which may pass."""
    found = inapplicable.problems(said(message))
    assert found is not None
    assert (found.unmergeable, found.mistyped) == (unmergeable, mistyped)


@pytest.mark.parametrize(
    "answer",
    [
        said("etcdserver: request timed out"),
        said("is invalid", 422),
        said("x", 403),
        Answer(500, {}, b"", {}),
    ],
)
def test_other_refusals_say_nothing_of_the_configuration(answer: Answer) -> None:
    """They are what they are."""
    assert inapplicable.problems(answer) is None


def test_a_patch_gives_what_the_manifest_has_and_takes_what_was_ours() -> None:
    """Lists whole, with the preconditions; what others have in maps stays."""
    first = deployment(env=[{"name": "A", "value": "1"}])
    first["spec"]["paused"] = True
    live = applied(None, first)
    live["metadata"].update(uid="u", resourceVersion="7")
    live["metadata"]["labels"]["theirs"] = "yes"
    twice = deployment(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])
    patch = inapplicable.patch(live, twice)
    assert (patch["metadata"]["uid"], patch["metadata"]["resourceVersion"]) == ("u", "7")
    after = merge_patch(live, patch)
    assert after["spec"] == twice["spec"]
    assert after["metadata"]["labels"] == {"ours": "yes", "theirs": "yes"}
    assert [each["operation"] for each in after["metadata"]["managedFields"]] == ["Update"]
    # An apply later, of what it can express, takes it back and takes out what is not there any more.
    assert takeover.updated_by_us(after)
    again = taken(after, takeover.as_apply(after))
    assert not takeover.updated_by_us(again)
    assert pod_of(bare(applied(again, deployment())))["containers"] == [{"name": "c", "image": "a"}]


@pytest.mark.parametrize(("bundle", "sent"), [("Cg==", False), ("", False), ("QQ==", True)])
def test_a_bundle_that_says_nothing_is_not_sent(bundle: str, sent: bool) -> None:
    """It is there for something in the member that injects one; a real one is the author's wish."""
    given: Object = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "x"},
        "webhooks": [{"name": "w", "clientConfig": {"caBundle": bundle}}],
    }

    def config(obj: Object) -> Object:
        found: Object = kinds.without_members_own(obj)["webhooks"][0]["clientConfig"]
        return found

    assert ("caBundle" in config(given)) == sent
    injected = {"name": "x", "annotations": {"cert-manager.io/inject-ca-from": "a/b"}}
    assert "caBundle" not in config({**given, "metadata": injected})


def test_what_is_exported_has_nothing_that_the_member_decided() -> None:
    """An orphan's cluster IP and node ports are its cluster's; that it is headless was asked for."""
    spec = {"clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30000}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": spec}
    assert kinds.authored(service)["spec"] == {"ports": [{"port": 80}]}
    headless = {**service, "spec": {"clusterIP": "None"}}
    assert kinds.authored(headless)["spec"] == {"clusterIP": "None"}
