"""What is looked at before anything is made: each check raises one line with its remedy.

Owns the checks of the host cluster and of an external etcd. None of them leaves anything behind; the reviews
of rights are not stored anywhere.

Next: `hanse_install.installing`.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hanse.errors import (
    FailedPreconditionError,
    HanseError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from hanse.well_known import GROUP
from hanse_install.keys import digests
from hanse_install.kubectl import Kubectl, Manifest, documents
from hanse_install.options import ZONE, InitOptions
from hanse_install.record import LABEL, InstallationRecord
from hanse_install.stages import reference

_VERBS = ("get", "create", "patch", "delete")
_ETCD_SECONDS = 5.0
_NOT_NAMESPACED = frozenset({"Namespace", "PriorityClass", "ClusterRole", "ClusterRoleBinding"})


def host_answers(kubectl: Kubectl) -> str:
    """Return the version of the host cluster. Raises HanseError if it does not answer, or is a federation
    itself.
    """
    try:
        version = json.loads(kubectl.run("get", "--raw", "/version", "--request-timeout=5s", seconds=30))
        groups = json.loads(kubectl.run("get", "--raw", "/apis", "--request-timeout=5s", seconds=30))
    except UnauthenticatedError as error:
        raise UnauthenticatedError(
            f"the host cluster of context {kubectl.context} does not take your credentials, which may have "
            f"ended: renew them in the kubeconfig ({error.message})"
        ) from error
    except PermissionDeniedError as error:
        raise _denied(kubectl, error.message) from error
    except (HanseError, ValueError) as error:
        reason = error.message if isinstance(error, HanseError) else "it does not answer as Kubernetes does"
        raise UnavailableError(
            f"the host cluster of context {kubectl.context} does not answer: see that it runs and that its "
            f"address in the kubeconfig is right ({reason})"
        ) from error
    if not isinstance(version, dict) or not isinstance(groups, dict) or groups.get("kind") != "APIGroupList":
        raise UnavailableError(
            f"what answers at the address of context {kubectl.context} does not answer as Kubernetes does: "
            "see that the address in the kubeconfig is right, and that no proxy is in between"
        )
    if any(each.get("name") == GROUP for each in groups.get("groups") or ()):
        raise FailedPreconditionError(
            f"context {kubectl.context} is the API of a federation and not a cluster, so no Pod can run "
            "there: name a cluster with --host-cluster-context"
        )
    return str(version.get("gitVersion", ""))


def _denied(kubectl: Kubectl, what: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"the credentials of context {kubectl.context} have no rights for this in the host cluster: use "
        f"those of an administrator, such as of the ClusterRole cluster-admin ({what})"
    )


def plural(kind: str) -> str:
    """Return the resource of a kind, of those that are in deploy/k8s."""
    lower = kind.lower()
    if lower.endswith("y"):
        return f"{lower.removesuffix('y')}ies"
    return f"{lower}es" if lower.endswith("s") else f"{lower}s"


def reviews(manifests: Iterable[Manifest], namespace: str) -> list[Manifest]:
    """Return a SelfSubjectAccessReview for each verb and kind, and for the search of records."""
    asked: dict[tuple[str, str, str, str], None] = {("", "configmaps", "list", ""): None}
    for each in manifests:
        group = each["apiVersion"].rpartition("/")[0]
        where = "" if each["kind"] in _NOT_NAMESPACED else namespace
        asked |= {(group, plural(each["kind"]), verb, where): None for verb in _VERBS}
    return [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": {"group": group, "resource": resource, "verb": verb, "namespace": where}
            },
        }
        for group, resource, verb, where in asked
    ]


def rights(kubectl: Kubectl, manifests: Iterable[Manifest], namespace: str) -> None:
    """Raise PermissionDeniedError that says what is not allowed in the host cluster."""
    secret = {"apiVersion": "v1", "kind": "Secret"}
    asked = reviews([*manifests, secret], namespace)
    try:
        answers = kubectl.run(
            "create",
            "--validate=false",
            "-f",
            "-",
            "-o",
            'jsonpath={.status.allowed}{"\\n"}',
            stdin=documents(asked),
        ).splitlines()
    except PermissionDeniedError as error:
        raise _denied(kubectl, error.message) from error
    refused: dict[str, list[str]] = {}
    for review, answer in zip(asked, answers, strict=True):
        if answer != "true":
            attributes = review["spec"]["resourceAttributes"]
            refused.setdefault(attributes["verb"], []).append(attributes["resource"])
    if refused:
        words = "; ".join(f"{verb} {', '.join(dict.fromkeys(kinds))}" for verb, kinds in refused.items())
        raise _denied(kubectl, f"not allowed: {words}")


def records(kubectl: Kubectl) -> list[InstallationRecord]:
    """Return all installations in the host cluster."""
    return [
        InstallationRecord.of(each) for each in kubectl.items("configmaps", "--all-namespaces", "-l", LABEL)
    ]


def of_federation(
    found: Sequence[InstallationRecord], federation: str, namespace: str | None
) -> InstallationRecord | None:
    """Return the installation of that name; None if there is none and the name and the namespace are free.

    Raises FailedPreconditionError if one of them is taken.
    """
    own: InstallationRecord | None = None
    for each in found:
        if each.federation == federation:
            if namespace not in {None, each.namespace}:
                raise FailedPreconditionError(
                    f"this host cluster has a federation {federation} already, in namespace "
                    f"{each.namespace}: omit --federation-system-namespace to continue with it, or choose "
                    "another name"
                )
            own = each
    where = own.namespace if own else namespace or "hanse"
    other = next((each for each in found if each.namespace == where and each.federation != federation), None)
    if other is not None:
        raise FailedPreconditionError(
            f"namespace {where} of the host cluster has the federation {other.federation}: name another "
            "namespace with --federation-system-namespace"
        )
    return own


def same_authority(record: InstallationRecord, directory: Path) -> None:
    """Raise FailedPreconditionError if a federation was made with other keys than those in the directory."""
    known = digests(directory)
    if record.authority not in known:
        has = f"has those of another id in {directory}" if known else f"has none in {directory}"
        raise FailedPreconditionError(
            f"namespace {record.namespace} of the host cluster has federation {record.federation} already, "
            f"and you {has}: name the directory of its keys with --keys-directory, or choose another name"
        )


def existing(kubectl: Kubectl, manifests: Sequence[Manifest]) -> list[Manifest]:
    """Return those of the objects that the host cluster has."""
    references = [_bare(each) for each in manifests]
    answer = kubectl.json("get", "-f", "-", "--ignore-not-found", stdin=documents(references)) or {}
    found: list[Manifest] = answer.get("items", [answer] if answer.get("kind") else [])
    return found


def _bare(manifest: Manifest) -> Manifest:
    meta = {key: manifest["metadata"][key] for key in ("name", "namespace") if key in manifest["metadata"]}
    return {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": meta}


def kept(
    there: Iterable[Manifest], record: InstallationRecord | None, others: Iterable[InstallationRecord]
) -> Iterator[str]:
    """Yield what is there, is not this installation's, and may stay: the namespace, and what another one
    made.

    Raises FailedPreconditionError for anything else that is in the way.
    """
    shared = list(others)
    for each in there:
        if record is not None and (record.makes(each) or reference(each) in record.kept):
            if reference(each) in record.kept:
                yield reference(each)
            continue
        if each["kind"] == "Namespace":
            yield reference(each)
        elif not (each["kind"] in _NOT_NAMESPACED and any(other.makes(each) for other in shared)):
            raise FailedPreconditionError(
                f"the host cluster has {reference(each)} already, and no `kubefed init` made it: remove it, "
                "or go on with what did (deploy/k8s is applied by kubectl too)"
            )


def storage(kubectl: Kubectl, options: InitOptions) -> Iterator[str]:
    """Yield what to warn of about volumes. Raises FailedPreconditionError for a StorageClass that does not
    exist."""
    if options.endpoints or options.etcd_persistent_storage is False:
        return
    classes = {each["metadata"]["name"]: each["metadata"] for each in kubectl.items("storageclasses")}
    wanted = options.etcd_pv_storage_class
    if wanted is not None and wanted not in classes:
        known = ", ".join(classes) or "none"
        raise FailedPreconditionError(
            f"--etcd-pv-storage-class {wanted} is not in the host cluster, which has {known}: name one of "
            "them"
        )
    default = "storageclass.kubernetes.io/is-default-class"
    if wanted is None and not any(
        (each.get("annotations") or {}).get(default) == "true" for each in classes.values()
    ):
        yield (
            "the host cluster has no default StorageClass: etcd waits for a PersistentVolume, unless you "
            "name a class with --etcd-pv-storage-class"
        )


def members_unchanged(there: Iterable[Manifest], manifests: Iterable[Manifest]) -> None:
    """Raise FailedPreconditionError if etcd is to have another number of members: each has to be told to etcd
    before it starts, which nothing does."""

    def count(among: Iterable[Manifest]) -> int | None:
        sets = [each for each in among if each["kind"] == "StatefulSet"]
        return int(sets[0]["spec"].get("replicas", 1)) if sets else None

    now, wanted = count(there), count(manifests)
    if now is not None and wanted is not None and now != wanted:
        raise FailedPreconditionError(
            f"etcd has {now} {'member' if now == 1 else 'members'} and would get {wanted}, which a number of "
            "replicas does not make: take a backup (--backup-dir), take the federation out and make it again "
            "with --restore-from (docs/install.md, From single to ha)"
        )


def volumes_unchanged(there: Iterable[Manifest], manifests: Iterable[Manifest]) -> None:
    """Raise FailedPreconditionError if etcd's volumes are to be others than they are."""

    def claims(among: Iterable[Manifest]) -> list[tuple[str, str]] | None:
        for each in among:
            if each["kind"] == "StatefulSet":
                specs = [claim["spec"] for claim in each["spec"].get("volumeClaimTemplates", ())]
                return [
                    (spec["resources"]["requests"]["storage"], spec.get("storageClassName", ""))
                    for spec in specs
                ]
        return None

    now, wanted = claims(there), claims(manifests)
    if now is not None and wanted is not None and now != wanted:
        raise FailedPreconditionError(
            f"etcd has volumes of {_volumes(now)} and would get {_volumes(wanted)}, which Kubernetes changes "
            "in no StatefulSet: leave the --etcd-pv flags as they were; a larger volume is made by editing "
            "its claim"
        )


def _volumes(claims: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{size} {kind}".strip() for size, kind in claims) or "none"


def same_store(options: InitOptions, record: InstallationRecord) -> None:
    """Raise FailedPreconditionError for what an installation cannot become by another run."""
    before = InitOptions(record.federation).over(record.options)
    if bool(options.endpoints) != bool(before.endpoints):
        raise FailedPreconditionError(
            "this federation would get another etcd, without what is in the one that it has: leave "
            "--etcd-servers as it was, or copy the data over first and install again (docs/operations.md, "
            "Backup)"
        )
    if (options.dns_zone_name or ZONE) != (before.dns_zone_name or ZONE):
        raise FailedPreconditionError(
            f"--dns-zone-name {options.dns_zone_name} is another than {before.dns_zone_name or ZONE}, in "
            "which the names of this federation are: it stays for as long as the federation"
        )


def etcd_answers(endpoints: Sequence[str], authority: Path | None) -> None:
    """Raise UnavailableError for servers that do not answer by TLS from here, with what they said."""
    context = ssl.create_default_context()
    try:
        if authority is not None:
            context = ssl.create_default_context(cafile=str(authority))
    except (OSError, ssl.SSLError) as error:
        raise FailedPreconditionError(f"--etcd-ca {authority} cannot be read: {error}") from error
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # its authority is only made; services do check it
    failures = [f"{each} ({reason})" for each in endpoints if (reason := _tried(each, context))]
    if failures:
        raise UnavailableError(
            f"etcd does not answer at {', '.join(failures)}: see that it runs with TLS and can be reached, "
            "or leave this check to the Pods with --no-etcd-check where only the host cluster reaches it"
        )


def _tried(endpoint: str, context: ssl.SSLContext) -> str:
    host, _, port = endpoint.rpartition(":")
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ETCD_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")),
        ):
            return ""
    except OSError as error:  # ssl.SSLError and socket.timeout too
        return " ".join(str(error.strerror or error).split())
