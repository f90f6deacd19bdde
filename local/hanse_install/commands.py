"""The commands `init` and `deinit`, plugged into `hanse` and `kubefed` by their entry points.

Owns the flags, which are Federation v1's; booleans may be written as --flag=false, as there.

Concurrency: synchronous. What does the work is imported when it is called, since every `hanse` command loads
this module.

Next: `hanse_install.installing` and `hanse_install.removing`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hanse_install.options import NAMESPACE, OVERLAYS, ZONE, InitOptions, check, without_meaning

if TYPE_CHECKING:
    from hanse_install.installing import Run

_FILE = click.Path(dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(file_okay=False, path_type=Path)


class _Command(click.Command):
    """Takes --flag=true and --flag=false for booleans."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write such a flag as click has it."""
        flags = {
            option: parameter.secondary_opts[0]
            for parameter in self.params
            if isinstance(parameter, click.Option) and parameter.is_flag and parameter.secondary_opts
            for option in parameter.opts
        }
        return super().parse_args(ctx, [_plain_flag(word, flags) for word in args])


def _plain_flag(word: str, flags: dict[str, str]) -> str:
    name, separator, value = word.partition("=")
    if not separator or name not in flags:
        return word
    if value.lower() not in {"true", "false", "1", "0", "t", "f"}:
        raise click.UsageError(f"{name} {value!r} is neither true nor false")
    return name if value.lower() in {"true", "1", "t"} else flags[name]


def _say(text: str) -> None:
    click.echo(text, err=True)


def _flag(name: str, text: str, **more: Any) -> Callable[[Any], Any]:
    return click.option(f"{name}/--no-{name.removeprefix('--')}", default=None, help=text, **more)


def _host(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--keys-directory",
            type=_DIRECTORY,
            metavar="DIR",
            help="Authorities, certificates and keys. [default: ~/.hanse/federations/FEDERATION]",
        ),
        click.option(
            "--wait-timeout", type=click.FloatRange(min=1), metavar="SECONDS", help="Deadline in all."
        ),
        click.option("--federation-system-namespace", "namespace", metavar="NAME", help="[default: hanse]"),
        click.option("--kubeconfig", default="", metavar="FILE", help="[default: as kubectl has it]"),
        click.option(
            "--host-cluster-context", "context", default="", metavar="CONTEXT", help="The host cluster."
        ),
        click.argument("federation"),
    ):
        function = option(function)
    return function


def _installed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return flags that change what is installed."""
    for option in reversed(
        (
            click.option(
                "--overlay", metavar="|".join(OVERLAYS), help=f"Of deploy/k8s. [default: {OVERLAYS[0]}]"
            ),
            click.option("--dns-zone-name", metavar="ZONE", help=f"Names end in it. [default: {ZONE}]"),
            click.option("--image", metavar="IMAGE", help="Image of the services; needed the first time."),
            click.option("--image-pull-policy", metavar="POLICY", help="[default: IfNotPresent]"),
            click.option("--image-pull-secrets", metavar="SECRET", help="Secret for the registry of images."),
            click.option("--etcd-image", metavar="IMAGE", help="Image of etcd."),
            click.option("--etcd-servers", metavar="URL,...", help="Use this etcd, and run none."),
            click.option("--etcd-pv-capacity", metavar="SIZE", help="[default: as the overlay has it]"),
            click.option("--etcd-pv-storage-class", metavar="CLASS", help="[default: the host cluster's]"),
            _flag("--etcd-persistent-storage", "Keep etcd's data in volumes. [default: true]"),
            click.option(
                "--api-server-service-type",
                metavar="TYPE",
                help="LoadBalancer, NodePort or ClusterIP. [default: as the overlay has it]",
            ),
            click.option(
                "--api-server-advertise-address", metavar="HOST[:PORT]", help="Where the API is reached."
            ),
            click.option(
                "--api-server-port", type=click.IntRange(0, 65535), help="Port of the nodes; 0 is any."
            ),
            click.option("--node-selector", metavar="KEY=VALUE,...", help="Nodes on which Pods may run."),
            click.option(
                "--apiserver-arg-overrides", metavar="--SETTING=VALUE,...", help="Settings of the apiserver."
            ),
            click.option(
                "--controllermanager-arg-overrides",
                metavar="--SETTING=VALUE,...",
                help="Settings of registry, scheduler, syncer and dns.",
            ),
            click.option(
                "--cluster-domain", metavar="DOMAIN", help="Of the host cluster. [default: cluster.local]"
            ),
        )
    ):
        function = option(function)
    return function


def _of_v1(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return flags of Federation v1 that mean nothing here; each gets a warning."""
    for name in ("--dns-provider", "--dns-provider-config", "--credentials-kubeconfig"):
        function = click.option(name, hidden=True)(function)
    function = _flag("--apiserver-enable-basic-auth", "", hidden=True)(function)
    decorated: Callable[..., Any] = _flag("--apiserver-enable-token-auth", "", hidden=True)(function)
    return decorated


@click.command(cls=_Command)
@_host
@_installed
@click.option(
    "--etcd-ca", type=_FILE, metavar="FILE", help="Authority of --etcd-servers. [default: DIR/etcd/ca.crt]"
)
@click.option(
    "--no-etcd-check",
    is_flag=True,
    help="Do not look at etcd, before an upgrade either: only the host cluster reaches --etcd-servers, or "
    "this run is to mend etcd.",
)
@click.option(
    "--backup-dir",
    type=_DIRECTORY,
    metavar="DIR",
    help="Where the backup before an upgrade goes; given, one is taken in any case. [default: backups in the "
    "directory of the keys]",
)
@click.option(
    "--backup-key-file",
    type=_FILE,
    metavar="FILE",
    help="Keys that seal it, or HANSE_BACKUP_PASSPHRASE. [default: backup.key in the directory of the keys]",
)
@click.option("--backup-passphrase-file", type=_FILE, metavar="FILE", help="A passphrase that seals it.")
@click.option(
    "--restore-from",
    type=_FILE,
    metavar="FILE",
    help="Make the federation out of this backup, where there is none. What opens it is named as what seals.",
)
@click.option("--skip-backup", is_flag=True, help="Upgrade without a backup.")
@click.option("--force-conflicts", is_flag=True, help="Take over fields that others have changed.")
@_flag("--dry-run", "Change nothing. Without --host-cluster-context nothing is asked either.")
@click.option(
    "-o", "--output", type=click.Choice(["name", "yaml", "json"]), default="name", help="Of --dry-run."
)
@_of_v1
def init(
    *,
    federation: str,
    context: str,
    kubeconfig: str,
    keys_directory: Path | None,
    wait_timeout: float | None,
    etcd_ca: Path | None,
    no_etcd_check: bool,
    backup_dir: Path | None,
    backup_key_file: Path | None,
    backup_passphrase_file: Path | None,
    skip_backup: bool,
    restore_from: Path | None,
    force_conflicts: bool,
    dry_run: bool | None,
    output: str,
    **given: Any,
) -> None:
    """Make FEDERATION in a host cluster; run again, upgrade it or change its flags.

    What is applied is what deploy/k8s has. Flags hold for later runs too. An upgrade first looks whether etcd
    is fit for it and takes a backup. The order is etcd, the rights in etcd, the apiserver, the other
    services; each waits for the one before. At the end the kubeconfig has a context FEDERATION.
    """
    from hanse_install import keys
    from hanse_install.backups import Backups
    from hanse_install.installing import Run, install
    from hanse_install.kubectl import Kubectl

    if skip_backup and (backup_dir or backup_key_file or backup_passphrase_file):
        raise click.UsageError("give --skip-backup, or what is for a backup, not both")
    if restore_from and dry_run:
        raise click.UsageError("--dry-run shows what is applied, which --restore-from does not change")
    known = {field.name for field in fields(InitOptions)}
    options = InitOptions(federation, **{name: value for name, value in given.items() if name in known})
    check(options)
    for line in without_meaning(given, options.dns_zone_name or ZONE):
        _say(f"warning: {line}")
    run = Run(
        Kubectl(kubeconfig, context),
        directory=keys_directory or keys.default_directory(federation),
        say=_say,
        wait_timeout=wait_timeout or 600.0,
        etcd_ca=etcd_ca,
        etcd_check=not no_etcd_check,
        force_conflicts=force_conflicts,
        backups=Backups(
            folder=backup_dir,
            passphrase_file=backup_passphrase_file,
            key_file=backup_key_file,
            skip=skip_backup,
            asked=backup_dir is not None,
        ),
        restore_from=restore_from,
    )
    if dry_run:
        _show(_planned(options, run), output)
        return
    install(options, run)


def _planned(options: InitOptions, run: Run) -> str:
    """Return what would be applied, as YAML. The host cluster is asked if one is named."""
    from hanse_install import overlay
    from hanse_install.installing import plan
    from hanse_install.kubectl import require

    require()
    if run.kubectl.context:
        options = plan(options, run, changing=False).options
    if options.image is None:
        _say("warning: no --image is given, and `hanse:placeholder` is in no registry")
    return overlay.render(replace(options, namespace=options.namespace or NAMESPACE))


def _show(text: str, output: str) -> None:
    if output == "yaml":
        click.echo(text, nl=False)
        return
    from hanse_install.overlay import parsed
    from hanse_install.stages import reference

    manifests = parsed(text)
    if output == "json":
        click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}, indent=2))
        return
    for each in manifests:
        click.echo(f"{reference(each)} (dry run)")
    _say("beside these: the Secrets of `python -m hanse.installation`, and ConfigMap hanse-installation")


@click.command(cls=_Command)
@_host
@click.option("--unjoin", is_flag=True, help="Take the members out first, each as it was.")
@click.option("--force", is_flag=True, help="Though members are joined; what is there stays there.")
@click.option("--delete-data", is_flag=True, help="Remove etcd's volumes too.")
def deinit(
    *,
    federation: str,
    context: str,
    kubeconfig: str,
    keys_directory: Path | None,
    wait_timeout: float | None,
    namespace: str | None,
    unjoin: bool,
    force: bool,
    delete_data: bool,
) -> None:
    """Take FEDERATION out of its host cluster: all that init made, and nothing else."""
    from hanse_install import keys
    from hanse_install.kubectl import Kubectl
    from hanse_install.removing import Uninstallation, remove

    if unjoin and force:
        raise click.UsageError("give --unjoin or --force, not both")
    remove(
        federation,
        Uninstallation(
            Kubectl(kubeconfig, context),
            directory=keys_directory or keys.default_directory(federation),
            say=_say,
            namespace=namespace,
            force=force,
            unjoin=unjoin,
            delete_data=delete_data,
            wait_timeout=wait_timeout or 300.0,
        ),
    )


def commands() -> Sequence[click.Command]:
    """Return the commands for the entry point groups `hanse.commands` and `kubefed.commands`."""
    return [init, deinit]
