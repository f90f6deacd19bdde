"""`kubefed deinit`: take a federation out of its host cluster, members first, each left as it was.

Owns what stays: the volumes of etcd unless told, what init did not make, and a namespace with anything else
in
it. Only what the record names is removed.

Concurrency: synchronous, one call of kubectl at a time.

Next: `hanse_install.record`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hanse.errors import DeadlineError, FailedPreconditionError, HanseError, NotFoundError
from hanse.federation.policies.impact import ALL
from hanse.installation import KEYS
from hanse.security.subject import certificates_of
from hanse.well_known import CONFIRM_IMPACT
from hanse_install import checks, contexts, keys
from hanse_install.kubectl import Kubectl, Manifest, require
from hanse_install.record import NAME, InstallationRecord
from hanse_install.restoring import HOLDER
from hanse_install.stages import COMPONENT, WORKLOADS, reference

CLUSTERS = "clusters.hanse.dev"
_OF_EVERY_NAMESPACE = frozenset(
    {"serviceaccount/default", "configmap/kube-root-ca.crt", "configmap/openshift-service-ca.crt"}
)
_NOT_COUNTED = ("event", "endpoint", "pod.metrics.k8s.io", "lease")
"""Kinds that others write by themselves."""


@dataclass(frozen=True, slots=True)
class Uninstallation:
    """How it goes."""

    kubectl: Kubectl
    """With the host cluster's context."""
    directory: Path
    say: Callable[[str], None]
    namespace: str | None = None
    force: bool = False
    unjoin: bool = False
    delete_data: bool = False
    wait_timeout: float = 300.0


def remove(federation: str, how: Uninstallation) -> None:
    """Take it out. Raises HanseError, and then nothing of the host cluster is removed yet, or it can be run
    again."""
    require()
    config = contexts.read(how.kubectl)
    contexts.check_host(config, how.kubectl.context)
    checks.host_answers(how.kubectl)
    found = checks.records(how.kubectl)
    record = checks.of_federation(found, federation, how.namespace)
    if record is None:
        raise NotFoundError(
            f"the host cluster of context {how.kubectl.context} has no federation {federation} that init "
            f"made; it has {', '.join(each.federation for each in found) or 'none'}"
        )
    known = keys.digests(how.directory)
    trusted = {keys.digest(each) for each in certificates_of(contexts.authority_of(config, federation))}
    ours = not trusted.isdisjoint({record.authority} | (known if record.authority in known else set()))
    _members(federation, how, record, reachable=ours)
    others = [each for each in found if each.federation != federation]
    if how.delete_data:  # Pods of a restore that was cut off hold the volumes
        holders = ("-l", f"{COMPONENT}={HOLDER}", "--ignore-not-found")
        how.kubectl.run("delete", "pods", "-n", record.namespace, *holders)
    claims = _claims(how.kubectl, record.namespace)
    stays = _staying(record) if claims and not how.delete_data else ()
    _objects(how, record, others, stays)
    if stays:
        _keep_data(how, record, claims, stays)
    else:
        _remove_rest(how, record, claims)
    if ours:
        contexts.remove(how.kubectl, federation)
        contexts.remove_client(how.directory)
    how.say(f"federation {federation} is taken out; its authorities and keys stay in {how.directory}")


def _members(federation: str, how: Uninstallation, record: InstallationRecord, *, reachable: bool) -> None:
    """Refuse while clusters are joined, or take them out first if that is asked for."""
    if how.force:
        how.say("warning: members are not asked: what the federation put there stays there, marks and all")
        return
    if not any(each["kind"] == "Deployment" for each in record.objects):
        return  # an earlier deinit has left the data and nothing else
    api = how.kubectl.to(federation)
    try:
        if not reachable:
            raise FailedPreconditionError(f"the kubeconfig has no context {federation} of this federation")
        joined = [each["metadata"]["name"] for each in api.items(CLUSTERS)]
    except HanseError as error:
        raise FailedPreconditionError(
            f"it cannot be told which clusters are joined ({error.message}): run `kubefed init {federation}` "
            "again if the federation is to be mended, or give --force if members may keep what it put there"
        ) from error
    if not joined:
        return
    if not how.unjoin:
        raise FailedPreconditionError(
            f"{', '.join(joined)} {'is' if len(joined) == 1 else 'are'} joined: unjoin them first, or give "
            "--unjoin, which takes each out as it was, or --force, which leaves there what the federation "
            "put there"
        )
    deadline = time.monotonic() + how.wait_timeout
    for name in joined:
        how.say(f"takes cluster {name} out of the federation")
        with contextlib.suppress(NotFoundError):
            api.run("annotate", CLUSTERS, name, f"{CONFIRM_IMPACT}={ALL}", "--overwrite")
        api.run("delete", CLUSTERS, name, "--wait=false", "--ignore-not-found")
    while left := [each["metadata"]["name"] for each in api.items(CLUSTERS)]:
        if time.monotonic() > deadline:
            raise DeadlineError(
                f"{', '.join(left)} {'is' if len(left) == 1 else 'are'} still leaving: see `hanse clusters` "
                "for what holds them, run deinit again, or give --force"
            )
        time.sleep(1.0)


def _claims(kubectl: Kubectl, namespace: str) -> list[Manifest]:
    """Return the volumes of etcd, which its StatefulSet made."""
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": each["metadata"]}
        for each in kubectl.items(
            "persistentvolumeclaims",
            "-n",
            namespace,
            "-l",
            "app.kubernetes.io/name=hanse,app.kubernetes.io/component=etcd",
        )
    ]


def _staying(record: InstallationRecord) -> tuple[Manifest, ...]:
    """Return what stays with the data: its namespace, and the keys without which nobody can read it."""
    return tuple(
        each
        for each in record.objects
        if each["kind"] == "Namespace" or (each["kind"] == "Secret" and each["metadata"]["name"] in KEYS)
    )


def _objects(
    how: Uninstallation,
    record: InstallationRecord,
    others: Sequence[InstallationRecord],
    stays: Sequence[Manifest],
) -> None:
    """Remove what init made but the namespace: workloads first, so that nothing runs without what it
    needs."""
    own = [
        each
        for each in record.objects
        if each["kind"] != "Namespace"
        and each not in stays
        and not any(other.makes(each) for other in others)
    ]
    how.say(f"removes {len(own)} objects of federation {record.federation}")
    workloads = [each for each in own if each["kind"] in WORKLOADS]
    how.kubectl.delete(workloads, seconds=how.wait_timeout, owning=True)
    deadline = time.monotonic() + how.wait_timeout
    while how.kubectl.items("pods", "-n", record.namespace, "-l", "app.kubernetes.io/name=hanse"):
        if time.monotonic() > deadline:
            raise DeadlineError(
                f"Pods of namespace {record.namespace} do not end: see `kubectl get pods -n "
                f"{record.namespace}`, and run deinit again"
            )
        time.sleep(0.5)
    rest = [each for each in reversed(own) if each["kind"] not in WORKLOADS]
    how.kubectl.delete(rest, seconds=how.wait_timeout, wait=False)  # it would wait for one after the other
    while left := checks.existing(how.kubectl, rest):
        if time.monotonic() > deadline:
            raise DeadlineError(
                f"{', '.join(map(reference, left[:5]))} of namespace {record.namespace} stay: see what holds "
                "them, and run deinit again"
            )
        time.sleep(0.5)


def _keep_data(
    how: Uninstallation, record: InstallationRecord, claims: Sequence[Manifest], stays: Sequence[Manifest]
) -> None:
    """Have the record name what stays, so that init and deinit go on from there."""
    left = replace(record, objects=tuple(stays), jobs={})
    how.kubectl.apply([left.manifest()], force=True)
    names = ", ".join(each["metadata"]["name"] for each in claims)
    how.say(
        f"the data stays, in PersistentVolumeClaims of namespace {record.namespace} ({names}), with its "
        "keys: init continues with it, and deinit --delete-data removes it"
    )


def _remove_rest(how: Uninstallation, record: InstallationRecord, claims: Sequence[Manifest]) -> None:
    """Remove volumes and record, and the namespace if init made it and nothing else is in it."""
    how.kubectl.delete([_bare(each) for each in claims], seconds=how.wait_timeout)
    how.kubectl.delete([_bare(record.manifest())], seconds=how.wait_timeout)
    namespace = next((each for each in record.objects if each["kind"] == "Namespace"), None)
    if namespace is None:
        _give_back(how.kubectl, record.namespace)
        return
    foreign = _foreign(how.kubectl, record.namespace)
    if foreign:
        _give_back(how.kubectl, record.namespace)
        how.say(
            f"namespace {record.namespace} stays: {', '.join(foreign[:5])} in it is not of this federation"
        )
        return
    how.kubectl.delete([namespace], seconds=how.wait_timeout)


def _bare(manifest: Manifest) -> Manifest:
    meta = {key: manifest["metadata"][key] for key in ("name", "namespace")}
    return {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": meta}


def _give_back(kubectl: Kubectl, namespace: str) -> None:
    """Take off what init put on a namespace that stays."""
    bare: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    with contextlib.suppress(NotFoundError):
        kubectl.apply([bare])


def _foreign(kubectl: Kubectl, namespace: str) -> list[str]:
    """Return what is in a namespace, as KIND/NAME, beside what every namespace has."""
    kinds = kubectl.run("api-resources", "--namespaced", "--verbs=list,delete", "-o", "name").split()
    asked = [each for each in kinds if not each.startswith(_NOT_COUNTED)]
    text = kubectl.run("get", ",".join(asked), "-n", namespace, "-o", "name", "--ignore-not-found")
    return [
        each for each in text.split() if each not in _OF_EVERY_NAMESPACE and not each.endswith(f"/{NAME}")
    ]
