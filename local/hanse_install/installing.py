"""`kubefed init`: check, back up, apply in stages, wait, write the context; a second run changes what is new.

Owns the sequence. An upgrade looks at etcd and takes a backup before anything is changed. The record is
written before the first object that it names, so that deinit finds what an interrupted run has left. What the
flags no longer ask for is removed at the end, when all is there.

Concurrency: synchronous, one call of kubectl at a time. Two runs at the same time apply the same.

Next: `hanse_install.checks`, `hanse_install.stages`, `hanse_install.waiting`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hanse.errors import ConfigError, DeadlineError, FailedPreconditionError, HanseError
from hanse_install import backups, checks, contexts, keys, overlay, restoring
from hanse_install.backups import Backups, UnfitError
from hanse_install.kubectl import Kubectl, Manifest, require
from hanse_install.options import NAMESPACE, ZONE, InitOptions, check
from hanse_install.record import InstallationRecord, union
from hanse_install.stages import RolloutStage, identity, job_digest, reference, stages
from hanse_install.waiting import RolloutWait

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """How a run goes, beside what is installed."""

    kubectl: Kubectl
    """With the host cluster's context."""
    directory: Path
    """Certificates and keys."""
    say: Say
    wait_timeout: float = 600.0
    etcd_ca: Path | None = None
    etcd_check: bool = True
    force_conflicts: bool = False
    poll: float = 1.0
    backups: Backups = field(default_factory=Backups)
    restore_from: Path | None = None


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """What the checks have found."""

    options: InitOptions
    manifests: tuple[Manifest, ...]
    record: InstallationRecord | None
    others: tuple[InstallationRecord, ...]
    kept: tuple[str, ...]

    @property
    def namespace(self) -> str:
        """Where it is installed."""
        return self.options.namespace or NAMESPACE


def plan(options: InitOptions, run: Run, *, changing: bool = True) -> InstallPlan:
    """Check everything, change nothing. Raises HanseError with the remedy. Not `changing` needs no image."""
    require()
    config = contexts.read(run.kubectl)
    contexts.check_host(config, run.kubectl.context)
    checks.host_answers(run.kubectl)
    rendered, of = overlay.parsed(overlay.render(options)), options
    checks.rights(run.kubectl, rendered, options.namespace or NAMESPACE)
    found = checks.records(run.kubectl)
    record = checks.of_federation(found, options.federation, options.namespace)
    if record is not None:
        options = options.over(record.options)
        checks.same_store(options, record)
        checks.same_authority(record, run.directory)
    options = replace(options, namespace=record.namespace if record else options.namespace or NAMESPACE)
    check(options)
    if changing and options.image is None:
        raise ConfigError(
            "--image is missing: no image of Hanse is published yet, so build one with deploy/Dockerfile, "
            "push it to a registry of yours and name it"
        )
    keys.check(run.kubectl, run.directory, options.namespace or NAMESPACE)
    restoring.check_finished(run.kubectl, options.namespace or NAMESPACE)
    contexts.check_free(config, options.federation, keys.digests(run.directory))
    same = overlay.kustomization(options) == overlay.kustomization(of) and options.endpoints == of.endpoints
    manifests = rendered if same else overlay.parsed(overlay.render(options))
    others = tuple(each for each in found if each.federation != options.federation)
    there = checks.existing(run.kubectl, manifests)
    kept = tuple(checks.kept(there, record, others))
    checks.members_unchanged(there, manifests)
    checks.volumes_unchanged(there, manifests)
    for warning in checks.storage(run.kubectl, options):
        run.say(f"warning: {warning}")
    if options.endpoints and run.etcd_check:
        known = keys.etcd_authority(run.directory, options)
        checks.etcd_answers(options.endpoints, run.etcd_ca or (known if known.is_file() else None))
    return InstallPlan(options=options, manifests=tuple(manifests), record=record, others=others, kept=kept)


def install(options: InitOptions, run: Run) -> str:
    """Make the federation, or what is to be another of it; return the address of its Kubernetes API."""
    if run.restore_from is None:
        return _install(plan(options, run), run, None)
    with restoring.opened(
        run.restore_from,
        run.directory,
        passphrase_file=run.backups.passphrase_file,
        key_file=run.backups.key_file,
    ) as restored:
        remembered = {name: value for name, value in restored.options.items() if name != "namespace"}
        found = plan(options.over(remembered), run)
        if found.record is not None and found.record.jobs:
            raise FailedPreconditionError(
                f"namespace {found.namespace} of the host cluster has federation {options.federation} "
                "already: take it out first (kubefed deinit --delete-data)"
            )
        restoring.check(run.kubectl, restored, found.manifests, run.directory)
        restoring.write_keys(restored, run.directory)
        return _install(found, run, restored)


def _install(found: InstallPlan, run: Run, restored: restoring.RestoredVolumes | None) -> str:
    options = found.options
    say, namespace = run.say, found.namespace
    secrets = keys.made(run.directory, found.options, etcd_ca=run.etcd_ca)
    digest = keys.digest(keys.issuing(run.directory))
    upgrade = found.record is not None and bool(found.record.jobs)
    say(
        f"{'goes on with' if upgrade else 'makes'} federation {options.federation} in namespace {namespace} "
        f"of {run.kubectl.context}"
    )
    if found.record is not None and upgrade:
        _secure(found, found.record, run)
    record = InstallationRecord(
        federation=options.federation,
        namespace=namespace,
        authority=digest,
        options=found.options.said(),
        objects=union(
            [] if found.record is None else found.record.objects,
            [each for each in (*found.manifests, *secrets) if reference(each) not in found.kept],
        ),
        kept=found.kept,
        jobs={} if found.record is None else found.record.jobs,
    )
    namespaces = [each for each in found.manifests if each["kind"] == "Namespace"]
    run.kubectl.apply(namespaces, force=run.force_conflicts)
    run.kubectl.apply([record.manifest()])
    waiting = RolloutWait(run.kubectl, namespace, time.monotonic() + run.wait_timeout, say, poll=run.poll)
    first, *rest = stages(found.manifests)
    run.kubectl.apply([*secrets, *first.manifests], force=run.force_conflicts)
    if restored is not None:
        say(f"restores etcd of {restored.content.created}")
        restoring.fill(run.kubectl, restored, found.manifests, say=say, seconds=waiting.left())
        waiting = replace(waiting, deadline=time.monotonic() + run.wait_timeout)
    for number, stage in enumerate(rest, start=1):
        say(f"{number} of {len(rest)}: {stage.title}")
        record = _stage(run, waiting, stage, record)
    server = _server(run, waiting, found.options, namespace)
    record = _prune(run, record, [*found.manifests, *secrets], seconds=waiting.left())
    run.kubectl.apply([record.manifest()])
    contexts.write(run.kubectl, options.federation, server=server, directory=run.directory)
    client = contexts.write_client(run.kubectl, run.directory, namespace=found.options.namespace or NAMESPACE)
    say(f"federation {options.federation} is there: kubectl --context {options.federation} get clusters")
    say(f"join clusters: hanse --config {client} join NAME --cluster-kubeconfig FILE")
    say(f"its authorities and keys are in {run.directory}: keep them, and back them up")
    if (found.options.dns_zone_name or ZONE) == ZONE:
        say(
            f"warning: its names end in {ZONE}, which stands for a zone of yours: --dns-zone-name is said "
            "once"
        )
    return server


def _secure(found: InstallPlan, record: InstallationRecord, run: Run) -> None:
    """Before an upgrade: see that etcd is fit for it, and take a backup. Raises HanseError, and then nothing
    of the host cluster is changed."""
    wanted, changes = run.backups, _changes_image(found)
    check_etcd, backup = changes and run.etcd_check, (changes and not wanted.skip) or wanted.asked
    if changes and wanted.skip:
        run.say("warning: no backup is taken (--skip-backup): what an upgrade spoils is lost")
    if not (check_etcd or backup):
        return
    try:
        with backups.reached(run.kubectl, record, found.options, run.directory) as etcd:
            if check_etcd:
                run.say("looks whether etcd is fit for an upgrade")
                backups.check(etcd, found.manifests)
            if backup:
                path = backups.take(etcd, record, found.options, run.directory, wanted)
                backups.announce(path, run.directory, wanted, run.say)
    except UnfitError:
        raise
    except HanseError as error:
        raise type(error)(
            f"nothing was changed, since etcd cannot be looked at or backed up: {error.message}. To go on "
            f"without, add {'--no-etcd-check ' if check_etcd else ''}--skip-backup"
        ) from error


def _changes_image(found: InstallPlan) -> bool:
    before = found.record.options if found.record else {}
    now = found.options.said()
    return any(now.get(name) != before.get(name) for name in ("image", "etcd_image"))


def _stage(
    run: Run, waiting: RolloutWait, stage: RolloutStage, record: InstallationRecord
) -> InstallationRecord:
    """Apply a stage and wait for it. A Job that is done is omitted: Kubernetes has forgotten it."""
    jobs = {each["metadata"]["name"]: each for each in stage.manifests if each["kind"] == "Job"}
    digests = {name: job_digest(job) for name, job in jobs.items()}
    done = {name for name, digest in digests.items() if record.jobs.get(name) == digest}
    again = [identity(job) for name, job in jobs.items() if name not in done]
    run.kubectl.delete(again, seconds=waiting.left(), owning=True)
    run.kubectl.apply(
        [each for each in stage.manifests if each["metadata"]["name"] not in done or each["kind"] != "Job"],
        force=run.force_conflicts,
    )
    waiting.until_there(stage, skip=[reference(jobs[name]) for name in done])
    return replace(record, jobs={**record.jobs, **digests})


def _prune(
    run: Run, record: InstallationRecord, wanted: Sequence[Manifest], *, seconds: float
) -> InstallationRecord:
    """Remove what an earlier run has made and this one does not ask for, such as a ConfigMap's older
    content."""
    names = {(reference(each), each["metadata"].get("namespace", "")) for each in wanted}
    gone = [
        each
        for each in record.objects
        if (reference(each), each["metadata"].get("namespace", "")) not in names
    ]
    for each in gone:
        run.say(f"removes {reference(each)}, which is not asked for any more")
    run.kubectl.delete(gone, seconds=seconds)
    return replace(record, objects=tuple(each for each in record.objects if each not in gone))


def _server(run: Run, waiting: RolloutWait, options: InitOptions, namespace: str) -> str:
    """Return the URL at which the Kubernetes API is reached from outside. Waits for a load balancer's
    address.
    """
    host, port = options.address
    while True:
        service = run.kubectl.json("get", "service", "hanse-api", "-n", namespace)
        kind, own = service["spec"]["type"], service["spec"]["ports"][0]
        if kind == "NodePort":
            return _url(host or _node_address(run.kubectl), port or own["nodePort"])
        if kind != "LoadBalancer":
            if not host:
                run.say(
                    "warning: it is reached from within the host cluster alone (--api-server-service-type)"
                )
            return _url(host or f"hanse-api.{namespace}.svc", port or own["port"])
        ingress = (service.get("status", {}).get("loadBalancer", {}).get("ingress") or [{}])[0]
        found = host or ingress.get("hostname") or ingress.get("ip")
        if found:
            return _url(found, port or own["port"])
        if time.monotonic() > waiting.deadline:
            raise DeadlineError(
                "Service hanse-api got no address of a load balancer: give "
                "--api-server-service-type=NodePort where the host cluster has none, or "
                "--api-server-advertise-address"
            )
        run.say("  waits: the address of the load balancer of Service hanse-api")
        time.sleep(run.poll)


def _node_address(kubectl: Kubectl) -> str:
    nodes: list[dict[str, Any]] = kubectl.items("nodes")
    for kind in ("ExternalIP", "InternalIP"):
        for node in nodes:
            for each in node.get("status", {}).get("addresses") or ():
                if each["type"] == kind:
                    return str(each["address"])
    raise FailedPreconditionError(
        "no node of the host cluster tells its address: say where the Kubernetes API is reached with "
        "--api-server-advertise-address"
    )


def _url(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"https://{shown}" if port == 443 else f"https://{shown}:{port}"
