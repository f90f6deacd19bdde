"""The commands `hanse up`, `down`, `status`, `sim`, `certificates`, plugged into `hanse` by its entry point.

Exit status: 0 as asked; 1 it failed; 2 wrong usage or input; of `status` also 3 nothing runs, 8 something of
what runs is not well.

Concurrency: `up` in the foreground runs the supervisor's loop; the others are synchronous.

Next: `hanse_local.supervise.background` and `hanse_local.supervise.host`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from hanse.errors import ConfigError, HanseError
from hanse.numbers import whole_number
from hanse_local import upfile
from hanse_local.backup.commands import backup, restore
from hanse_local.checks import check_options
from hanse_local.command_line import FAILED, WRONG_INPUT, data_dir_option, reported
from hanse_local.display import (
    StartProgress,
    phase_of,
    print_failure,
    print_problems,
    print_ready,
    print_releases,
    processes_table,
)
from hanse_local.etcd.commands import etcd_group
from hanse_local.keys.commands import keys_group
from hanse_local.layout import DEFAULT, DataDir
from hanse_local.options import UpOptions
from hanse_local.rebuild.commands import rebuild
from hanse_local.supervise import background
from hanse_local.supervise.host import Host
from hanse_local.supervise.lock import already_running, is_held
from hanse_local.supervise.supervisor import StartError

NOT_RUNNING = 3
NOT_WELL = 8


def _ports(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in values:
        name, separator, port = value.partition("=")
        number = whole_number(port, maximum=65535)
        if not separator or number is None:
            raise click.BadParameter(f"{value!r} must be NAME=PORT, such as dns.dns=5353")
        found[name] = number
    return found


def _settings(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, separator, setting = value.partition("=")
        if not separator or "." not in name:
            raise click.BadParameter(f"{value!r} must be SERVICE.SETTING=VALUE")
        found[name] = setting
    return found


def _endpoints(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    found = tuple(part.strip() for value in values for part in value.split(",") if part.strip())
    for endpoint in found:
        if "//" in endpoint or whole_number(endpoint.rpartition(":")[2], maximum=65535) is None:
            raise click.BadParameter(f"{endpoint!r} must be HOST:PORT without a scheme")
    return found


def _names(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for value in values for part in value.split(",") if part.strip()))


def _from_file(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Have what the file says hold where the command line says nothing."""
    data = context.params.get("data") or DataDir.at(DEFAULT)
    if path is None and not data.up_config.exists():
        return
    allowed = {option.name: option for option in context.command.params if option.expose_value}
    try:
        found = upfile.read(path or data.up_config, known=allowed.keys() - {"data", "detach", "rebuild"})
    except ConfigError as error:
        raise click.BadParameter(str(error)) from error
    context.default_map = {**(context.default_map or {}), **found}


def _not_empty(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    if value == "":
        raise click.BadParameter("it is empty: omit the option for what the data directory remembers")
    return value or ""


@click.command()
@data_dir_option
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_from_file,
    help="TOML with any of these options. [default: DATA_DIR/up.toml, if it is there]",
)
@click.option("--clusters", type=int, metavar="N", help="Simulated clusters to run. [default: 3 at first]")
@click.option("--detach", is_flag=True, help="Run in the background; return when everything is ready.")
@click.option(
    "--etcd-endpoints", metavar="HOST:PORT,...", multiple=True, callback=_endpoints, help="Use this etcd."
)
@click.option(
    "--etcd-prefix", metavar="PATH", callback=_not_empty, help="Prefix of all keys. [default: /hanse]"
)
@click.option("--etcd-ca", default="", metavar="FILE", help="Authority of that etcd.")
@click.option("--etcd-cert", default="", metavar="FILE", help="Client certificate for that etcd.")
@click.option("--etcd-key", default="", metavar="FILE", help="Key of the client certificate.")
@click.option(
    "--rebuild",
    metavar="ID",
    default="",
    help="Found the federation ID again in an etcd that has lost it; see `hanse rebuild`.",
)
@click.option("--production", is_flag=True, help="Refuse an etcd that can corrupt its data.")
@click.option("--https-port", type=int, help="Port of the Kubernetes API. [default: a free one]")
@click.option("--dns-port", type=int, help="Port of the name server. [default: a free one]")
@click.option(
    "--port", "ports", multiple=True, metavar="NAME=PORT", callback=_ports, help="Any port, as in state.json."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SERVICE.SETTING=VALUE",
    callback=_settings,
    help="Any setting of a process, such as scheduler.toleration_seconds=10; it holds for later runs too.",
)
@click.option(
    "--unset", multiple=True, metavar="SERVICE.SETTING", help="Forget a setting that was given by --set."
)
@click.option(
    "--advertise",
    multiple=True,
    metavar="NAME",
    callback=_names,
    help="Name or address at which others reach this machine, the first for the kubeconfig; it goes into the "
    "certificate. `none` forgets them.",
)
@click.option(
    "--listen",
    default="",
    metavar="ADDRESS",
    help="Where Kubernetes API and name server listen. [default: 127.0.0.1, with --advertise 0.0.0.0]",
)
@click.option(
    "--federation-name", metavar="NAME", callback=_not_empty, help="As in DNS names. [default: hanse]"
)
@click.option(
    "--dns-suffix", metavar="ZONE", callback=_not_empty, help="Zone of the names. [default: example.org]"
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least severe log level. [default: info]",
)
@click.option("--otlp-endpoint", default="", metavar="URL", help="Send traces, metrics and logs there.")
@click.option(
    "--start-timeout", type=float, default=UpOptions().start_timeout, show_default=True, metavar="SECONDS"
)
@reported
def up(
    *,
    data: DataDir,
    detach: bool,
    https_port: int | None,
    dns_port: int | None,
    ports: dict[str, int],
    **values: Any,
) -> None:
    """Start a federation on this machine, or resume the one in the data directory.

    It runs an etcd, the five services and simulated clusters, and writes DATA_DIR/kubeconfig. In the
    foreground Ctrl-C stops everything in order; a second Ctrl-C hurries. A process that dies is started
    again.
    """
    for name, port in (("apiserver.https", https_port), ("dns.dns", dns_port)):
        if port is not None:
            ports = {**ports, name: port}
    values["log_level"] = values["log_level"] or ""
    options = UpOptions(ports=ports, **values)
    console = Console(stderr=True)
    progress = StartProgress(console)
    try:
        check_options(options)
        if detach:
            with progress.running():
                snapshot = background.start(data, options, follow=progress.follow)
            print_ready(console, snapshot)
        else:
            _in_foreground(data, options, console, progress)
    except (HanseError, StartError) as error:
        print_failure(console, error)
        sys.exit(WRONG_INPUT if isinstance(error, ConfigError) else FAILED)


def _in_foreground(data: DataDir, options: UpOptions, console: Console, progress: StartProgress) -> None:
    if is_held(data):
        raise already_running(data)
    phase = ""

    def follow(snapshot: dict[str, Any]) -> None:
        nonlocal phase
        progress.follow(snapshot)
        if snapshot["phase"] != phase:
            phase = snapshot["phase"]
            if phase == "ready":
                print_ready(console, snapshot)
                console.print("Ctrl-C stops it.", highlight=False)
            elif phase == "stopping":
                console.print("stopping in order; Ctrl-C again hurries", highlight=False)

    async def live() -> None:
        await Host(data, options, on_change=follow).run()

    with progress.running():
        asyncio.run(live())
    console.print("stopped", highlight=False)


@click.command()
@data_dir_option
@click.option("--timeout", type=float, default=background.STOP_TIMEOUT, show_default=True, metavar="SECONDS")
@reported
def down(data: DataDir, timeout: float) -> None:
    """Stop the federation in order. Its data stays; `hanse up` resumes it."""
    console = Console(stderr=True)
    try:
        with console.status("stopping"):
            stopped = background.stop(data, timeout=timeout)
    except HanseError as error:
        print_failure(console, error)
        sys.exit(FAILED)
    console.print("stopped" if stopped else f"nothing runs in {data.root}", highlight=False, soft_wrap=True)


@click.command()
@data_dir_option
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@reported
def status(data: DataDir, output: str) -> None:
    """Show the processes of the federation, and what is wrong with them.

    Exit status 0 if all is well, 3 if nothing runs, 8 if a process is not ready, crash-loops or says that
    something is wrong, 1 if that cannot be told.
    """
    errors = Console(stderr=True)
    try:
        snapshot = background.query(data)
    except HanseError as error:
        print_failure(errors, error)
        sys.exit(FAILED)
    if snapshot is None:
        errors.print(
            f"nothing runs in {data.root}; start it with `hanse up`", highlight=False, soft_wrap=True
        )
        sys.exit(NOT_RUNNING)
    if output == "json":
        click.echo(json.dumps(snapshot, indent=2))
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=200)
        console.print(f"{phase_of(snapshot)} in {snapshot['data_dir']}", highlight=False, soft_wrap=True)
        console.print(processes_table(snapshot, now=time.time()))
        print_ready(console, snapshot)
        print_releases(console, snapshot)
        print_problems(console, snapshot)
    if snapshot["problems"]:
        sys.exit(NOT_WELL)


@click.group()
def sim() -> None:
    """Lose simulated clusters and bring them back."""


def _sim(data: DataDir, name: str, *, command: str, done: str, already: str) -> None:
    console = Console(stderr=True)
    try:
        with console.status(f"{command} {name}"):
            answer = background.request(data, command, name=name, timeout=90.0)
    except HanseError as error:
        print_failure(console, error)
        sys.exit(FAILED)
    console.print(f"{name} {done if answer['changed'] else already}", highlight=False)


@sim.command("stop")
@click.argument("name")
@data_dir_option
@reported
def sim_stop(data: DataDir, name: str) -> None:
    """Kill the simulated cluster NAME, as if its machines had lost power."""
    _sim(data, name, command="sim-stop", done="is lost", already="was stopped already")


@sim.command("start")
@click.argument("name")
@data_dir_option
@reported
def sim_start(data: DataDir, name: str) -> None:
    """Start the simulated cluster NAME again, at the same address and with its data."""
    _sim(data, name, command="sim-start", done="is back", already="runs already")


@sim.command("list")
@data_dir_option
@reported
def sim_list(data: DataDir) -> None:
    """List the simulated clusters."""
    errors = Console(stderr=True)
    try:
        snapshot = background.request(data, "status")
    except HanseError as error:
        print_failure(errors, error)
        sys.exit(FAILED)
    states = {process["name"]: process["state"] for process in snapshot["processes"]}
    for cluster in snapshot["clusters"]:
        zones = ",".join(cluster["zones"])
        click.echo(
            f"{cluster['name']:<20} {states.get(cluster['process'], 'unknown'):<12} "
            f"region={cluster['region']} zones={zones}"
        )


@click.group()
def certificates() -> None:
    """List and revoke certificates of the federation, and replace what issues them."""


@certificates.command("list")
@data_dir_option
@reported
def certificates_list(data: DataDir) -> None:
    """List the certificates of the mesh in the data directory."""
    from hanse_local.keys.renewing import listed

    for each in listed(data):
        state = f"until {each.until:%Y-%m-%d}" if each.until else "unreadable; `hanse up` issues it again"
        state = "revoked" if each.revoked else state
        click.echo(f"{each.file:<16} {each.name:<24} {state:<17} serial:{each.serial}")


@certificates.command("revoke")
@click.argument("what")
@data_dir_option
@reported
def certificates_revoke(data: DataDir, what: str) -> None:
    """Revoke WHAT: a file with a certificate, or sha256:HEX, serial:HEX or name:NAME.

    It counts no more within seconds, and connections that were made with it end. A certificate of the data
    directory is issued again.
    """
    from hanse_local.keys.renewing import revoke

    console = Console(stderr=True)
    try:
        console.print(f"{revoke(data, what)} is revoked", highlight=False, soft_wrap=True)
    except HanseError as error:
        print_failure(console, error)
        sys.exit(WRONG_INPUT)


def _length(_context: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    """Return a length of time, such as 7d, 12h, 30m, 90s or 0."""
    if value is None:
        return None
    units = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
    number = whole_number(value[:-1] if value[-1:] in units else value, maximum=10_000)
    if number is None or (number and value[-1:] not in units):
        raise click.BadParameter(f"{value!r} must be a number of days, hours, minutes or seconds, such as 7d")
    return timedelta(**{units.get(value[-1:], "seconds"): number})


@certificates.command("rotate-ca")
@click.option(
    "--overlap",
    metavar="TIME",
    callback=_length,
    help="How long kubeconfigs and certificates of the old authority count yet, such as 7d. "
    "[default: 0 unless the federation is advertised]",
)
@data_dir_option
@reported
def certificates_rotate_ca(data: DataDir, overlap: timedelta | None) -> None:
    """Replace the authorities that issue all certificates, while everything runs.

    The new ones are trusted beside the old ones; DATA_DIR/kubeconfig is updated, for others to take; when the
    overlap is over, all certificates are issued again, and the old authorities are trusted no more. The
    embedded etcd is restarted twice, nothing else. What was interrupted, or waits for the end of the overlap,
    goes on with the next run.
    """
    from hanse_local.keys.rotating import rotate

    console = Console(stderr=True)
    try:
        rotate(data, overlap=overlap, say=lambda line: console.print(line, highlight=False, soft_wrap=True))
    except HanseError as error:
        print_failure(console, error)
        sys.exit(WRONG_INPUT if isinstance(error, ConfigError) else FAILED)


def commands() -> list[click.Command]:
    """Return the commands for the entry point group `hanse.commands`."""
    return [up, down, status, sim, certificates, etcd_group, keys_group, backup, restore, rebuild]
