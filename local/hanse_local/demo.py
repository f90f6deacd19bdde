"""`make run`: a federation in the background with an example in it, and a tour of what is where.

Brings the federation up unless it runs, applies the manifests (with kubectl where it is installed), waits
with visible progress until every object is applied and healthy in every cluster that it goes to, shows
that, asks the name server for the names, and says what to try next. Run twice it changes nothing. The
exit status is 0 only if all of that is true.

Concurrency: one loop; the federation is a process of its own.

Next: nothing; this is the outermost layer.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
from hanse_cli import manifests
from hanse_cli.commands import explain
from hanse_cli.commands.clusters import list_clusters
from hanse_cli.commands.names import list_record_sets, list_zones
from hanse_cli.commands.objects import get
from hanse_cli.resources import NamedResource, Resources
from hanse_client import HanseClient
from hanse_client.names import placement_name, sync_state_parent
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from hanse.api.dns.v1.record_set_pb2 import RecordSet
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.scheduler.v1.scheduler_service_pb2 import GetPlacementRequest
from hanse.api.syncer.v1.sync_state_pb2 import Health, SyncPhase, SyncState
from hanse.api.syncer.v1.syncer_service_pb2 import ListSyncStatesRequest
from hanse.errors import DeadlineError, HanseError, NotFoundError, UnavailableError
from hanse.federation.clusters import is_ready
from hanse.federation.placements import is_placed_in
from hanse.messages import word_of
from hanse_local.display import StartProgress, print_failure, print_ready
from hanse_local.layout import DEFAULT, DataDir
from hanse_local.options import UpOptions
from hanse_local.supervise import background
from hanse_local.supervise.supervisor import StartError

PATIENCE = 120.0
"""Seconds in which the example must run everywhere."""
_POLL = 0.2


@dataclass(frozen=True, slots=True)
class TourItem:
    """One object of the example: what it is, where it should be, and where it is."""

    target: NamedResource
    namespace: str
    placement: Placement | None = None
    states: Mapping[str, SyncState] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether every placed cluster has the object, and it is healthy there."""
        return (
            self.placement is not None
            and bool(self.placement.clusters)
            and not self.placement.releasing
            and all(_is_done(self.states.get(each.cluster)) for each in self.placement.clusters)
        )

    def in_cluster(self, cluster: str) -> Text:
        """Return how it is in one cluster, in a word."""
        if self.placement is None or not is_placed_in(self.placement, cluster):
            return Text("-" if self.placement else "?", style="dim")
        state = self.states.get(cluster)
        word = live_word(state)
        return Text(word, style="green" if _is_done(state) else "yellow")


def _is_done(state: SyncState | None) -> bool:
    return (
        state is not None
        and state.phase == SyncPhase.APPLIED
        and state.health in (Health.HEALTHY, Health.HEALTH_UNSPECIFIED)
    )


def live_word(state: SyncState | None) -> str:
    """`✓`, `2/2 ready`, or what it waits for."""
    if state is None:
        return "waiting"
    if state.phase != SyncPhase.APPLIED:
        return word_of(SyncPhase.DESCRIPTOR, state.phase).lower()
    status = status_of(state)
    if state.HasField("replicas"):
        return f"{status.get('readyReplicas', 0)}/{state.replicas} ready"
    addresses = [
        str(each.get("ip") or each.get("hostname")) for each in get(status, "loadBalancer.ingress") or []
    ]
    return ", ".join(addresses) or (
        "✓" if _is_done(state) else word_of(Health.DESCRIPTOR, state.health).lower()
    )


def status_of(state: SyncState) -> dict[str, Any]:
    """Return the member's status; empty if there is none."""
    document = json.loads(state.status or b"{}")
    return document if isinstance(document, dict) else {}


async def look(client: HanseClient, items: Sequence[TourItem]) -> list[TourItem]:
    """Return the items with where they are now."""
    return list(await asyncio.gather(*(_look(client, item) for item in items)))


async def _look(client: HanseClient, item: TourItem) -> TourItem:
    reference = item.target.reference(item.namespace)
    try:
        request = GetPlacementRequest(name=placement_name(reference))
        placement = await client.scheduler.GetPlacement(request)
    except NotFoundError:
        return TourItem(item.target, item.namespace)
    listed = await client.syncer.ListSyncStates(
        ListSyncStatesRequest(parent=sync_state_parent(reference), page_size=1000)
    )
    states = {state.cluster: state for state in listed.sync_states}
    return TourItem(item.target, item.namespace, placement, states)


def items_table(items: Sequence[TourItem], clusters: Sequence[str]) -> Table:
    """Return what is where: one row for each object, one column for each cluster."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    table.add_column("OBJECT", no_wrap=True)
    for cluster in clusters:
        table.add_column(cluster, no_wrap=True)
    for item in items:
        table.add_row(item.target.title, *(item.in_cluster(cluster) for cluster in clusters))
    return table


async def wait(client: HanseClient, items: Sequence[TourItem], *, console: Console) -> list[TourItem]:
    """Wait until all items are done, showing how far they are. Raises DeadlineError."""
    deadline = time.monotonic() + PATIENCE
    clusters: list[str] = []
    current = list(items)
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        while True:
            try:
                clusters = [each.name.removeprefix("clusters/") for each in await list_clusters(client)]
                current = await look(client, current)
            except UnavailableError:
                pass  # a service is being restarted; the deadline is the limit
            done = sum(item.done for item in current)
            words = Spinner("dots", f"{done} of {len(current)} objects are where they should be")
            live.update(Group(items_table(current, clusters), words))
            if done == len(current):
                break
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL)
    console.print(items_table(current, clusters))
    if not all(item.done for item in current):
        raise DeadlineError(_late(current))
    return current


def _late(items: Sequence[TourItem]) -> str:
    late = ", ".join(item.target.title for item in items if not item.done)
    return f"not everything runs after {PATIENCE:.0f} s: {late}"


async def ask_names(client: HanseClient, items: Sequence[TourItem], *, console: Console) -> None:
    """Ask the name server for every name of the example's LoadBalancer Services, and show the answers.

    Raises DeadlineError if a name has records and the server does not answer with them.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for column in ("NAME", "ANSWER", "FROM CLUSTER"):
        table.add_column(column, no_wrap=column == "NAME")
    services = [
        item
        for item in items
        if (item.target.resource.group, item.target.resource.resource) == ("", "services")
    ]
    deadline = time.monotonic() + PATIENCE / 4
    for item in services:
        for zone in await list_zones(client):
            records = await _records(
                client, zone.name, f"{item.namespace}/{item.target.name}", deadline=deadline
            )
            for record in records:
                answers = await _answers(record, zone.server, deadline=deadline)
                owners = {each.address: each.cluster for each in record.endpoints}
                where = sorted({owners.get(answer, "?") for answer in answers})
                table.add_row(record.fqdn.removesuffix("."), ", ".join(answers), ", ".join(where))
    console.print(table)


async def _records(client: HanseClient, zone: str, service: str, *, deadline: float) -> list[RecordSet]:
    """Return the record sets of a Service that is healthy; waits for them. Raises DeadlineError."""
    while True:
        records = await list_record_sets(client, zone=zone, service=service)
        if records and all(record.endpoints for record in records):
            return records
        if time.monotonic() > deadline:
            raise DeadlineError(
                f"the Service {service} has no names with addresses: see `hanse names {service}`"
            )
        await asyncio.sleep(_POLL)


async def _answers(record: RecordSet, server: str, *, deadline: float) -> list[str]:
    """Return what the name server answers; waits until those are the record's addresses. Raises
    DeadlineError.
    """
    host, _, port = server.rpartition(":")
    expected = sorted(each.address for each in record.endpoints)
    question = dns.message.make_query(record.fqdn, dns.rdatatype.A)
    while True:
        found: list[str] = []
        try:
            answer = await dns.asyncquery.udp(question, host, port=int(port), timeout=2)
            found = sorted(str(each) for rrset in answer.answer for each in rrset)
            problem = dns.rcode.to_text(answer.rcode())
        except (OSError, dns.exception.DNSException) as error:
            problem = str(error) or type(error).__name__
        if found and found == expected:
            return found
        if time.monotonic() > deadline:
            raise DeadlineError(f"{server} answers {found or problem} for {record.fqdn}, not {expected}")
        await asyncio.sleep(_POLL)


def apply(data: DataDir, folder: Path, *, console: Console) -> None:
    """Apply the example, with kubectl where there is one. Raises HanseError if it is refused."""
    kubectl = shutil.which("kubectl")
    if kubectl:
        command = [kubectl, "--kubeconfig", str(data.kubeconfig), "apply", "-f", str(folder)]
    else:
        command = [sys.executable, "-m", "hanse_cli.main", "--config", str(data.client_config), "apply", "-f"]
        command.append(str(folder))
    shown = "kubectl apply" if kubectl else "hanse apply (kubectl is not installed)"
    console.print(f"[bold]{shown} -f {escape(_shorter(folder))}[/]", highlight=False)
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    for line in result.stdout.splitlines():
        console.print(f"  {escape(line)}", highlight=False)
    if result.returncode != 0:
        raise UnavailableError(f"{shown} failed: {result.stderr.strip()}")


async def tour(data: DataDir, folder: Path, console: Console) -> None:
    """Wait for the example and show it. Raises HanseError."""
    async with HanseClient.from_config(data.client_config) as client:
        resources = await Resources.load(client)
        items = [
            TourItem(
                NamedResource(resources.of_manifest(each), each["metadata"]["name"]),
                each["metadata"].get("namespace", ""),
            )
            for each in manifests.read([str(folder)])
        ]
        await _await_clusters(client)
        console.print("\n[bold]What is where[/]", highlight=False)
        try:
            items = await wait(client, items, console=console)
        except DeadlineError:
            await _explain_late(client, items, console)
            raise
        console.print("\n[bold]The names, and what the name server answers[/]", highlight=False)
        await ask_names(client, items, console=console)


async def _await_clusters(client: HanseClient) -> None:
    """Wait until all clusters are READY. Raises DeadlineError."""
    deadline = time.monotonic() + PATIENCE / 2
    while True:
        clusters = await list_clusters(client)
        missing = [each.name.removeprefix("clusters/") for each in clusters if not is_ready(each)]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise DeadlineError(f"not ready: {', '.join(missing)}; see `hanse clusters`")
        await asyncio.sleep(_POLL)


async def _explain_late(client: HanseClient, items: Sequence[TourItem], console: Console) -> None:
    for item in await look(client, items):
        if not item.done:
            page = await explain.explain(client, item.target, item.namespace)
            for line in page.pending:
                console.print(f"  {escape(page.object)}: {escape(line)}", highlight=False)


def print_next(console: Console, data: DataDir, snapshot: Mapping[str, Any]) -> None:
    """Show what to try next."""
    host, _, port = snapshot["dns"].rpartition(":")
    suffix, federation = snapshot["dns_suffix"], snapshot["federation"]
    hanse = "hanse" if shutil.which("hanse") else _shorter(Path(sys.executable).parent / "hanse")
    lines = [f"export KUBECONFIG={_shorter(data.kubeconfig)}"]
    if data != DataDir.at(DEFAULT):
        lines.append(f"export HANSE_DATA_DIR={_shorter(data.root)}")
    if shutil.which("kubectl"):
        lines += [
            "kubectl get clusters",
            "kubectl get deployments,services,configmaps -n shop",
            "kubectl --context eu-west get deploy,pods -n shop",
        ]
    lines += [
        f"{hanse} get deploy,svc,cm -n shop",
        f"{hanse} explain deploy/web -n shop",
        f"dig @{host} -p {port} web.shop.{federation}.svc.eu-west.{suffix}",
        f"{f'{hanse} sim stop us-east':<38}# replicas move after 60 s, names follow, nothing is deleted",
        f"{f'{hanse} sim start us-east':<38}# it comes back",
        f"{'make stop':<38}# stop everything; make run resumes with all data",
    ]
    console.print("\n[bold]Try next[/]", highlight=False)
    for line in lines:
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)


def _shorter(path: Path) -> str:
    """Return the path as seen from here, if that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def up(data: DataDir, options: UpOptions, console: Console) -> dict[str, Any]:
    """Bring the federation up in the background unless it runs; lost simulated clusters come back."""
    snapshot = background.query(data)
    if snapshot is None:
        progress = StartProgress(console)
        with progress.running():
            snapshot = background.start(data, options, follow=progress.follow)
    else:
        console.print(f"runs already in {escape(_shorter(data.root))}", highlight=False)
        for cluster in snapshot["clusters"]:
            background.request(data, "sim-start", name=cluster["name"], timeout=90.0)
    print_ready(console, snapshot)
    return snapshot


@click.command()
@click.option("--data-dir", default=str(DEFAULT), metavar="DIR", show_default=True)
@click.option("--manifests", "folder", default="examples/shop", metavar="DIR", show_default=True)
@click.option("--clusters", type=int, metavar="N", help="As of `hanse up`.")
def main(data_dir: str, folder: str, clusters: int | None) -> None:
    """Bring a federation up in the background and show it with an example."""
    console = Console()
    data = DataDir.at(data_dir)
    try:
        snapshot = up(data, UpOptions(clusters=clusters), console)
        console.print()
        apply(data, Path(folder), console=console)
        asyncio.run(tour(data, Path(folder), console))
    except (HanseError, StartError, subprocess.TimeoutExpired) as error:
        print_failure(Console(stderr=True), error)
        console.print(f"logs: {escape(str(data.logs))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    print_next(console, data, snapshot)


if __name__ == "__main__":
    main()
