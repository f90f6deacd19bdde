"""Every RPC is a command: flags for fields, answers as tables, JSON and YAML, one line for a mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from hanse_cli.flags import build, flags_of
from hanse_cli.generated import SERVICES, ServiceGroup, kebab
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.federation.v1 import federation_service_pb2 as federation
from hanse.api.registry.v1 import registry_service_pb2 as registry
from hanse.api.registry.v1.cluster_pb2 import Cluster, ClusterState, TaintEffect
from hanse.api.scheduler.v1 import scheduler_service_pb2 as scheduler
from hanse.api.syncer.v1 import syncer_service_pb2 as syncer
from tests.cli.conftest import Hanse, World


def clusters(world: World, *names: str) -> None:
    """Put clusters into the world."""
    for name in names:
        world.clusters[f"clusters/{name}"] = Cluster(
            name=f"clusters/{name}",
            state=ClusterState.READY,
            region=name,
            zones=["a", "b"],
            labels={"tier": "prod"},
        )


def test_every_method_is_a_command_with_help() -> None:
    """And every field of its request that a caller may set has a flag and a text."""
    seen = 0
    for service in SERVICES.values():
        group = ServiceGroup(service)
        context = click.Context(group)
        assert group.help
        for method in service.descriptor.methods:
            command = group.get_command(context, kebab(method.name))
            assert command is not None
            assert command.help, method.full_name
            flags = {parameter.name for parameter in command.params}
            assert {each.parameter for each in flags_of(method.input_type)} <= flags
            for parameter in command.params:
                if isinstance(parameter, click.Option) and str(parameter.name).startswith("field__"):
                    assert parameter.help, f"{method.full_name} {parameter.opts}"
            seen += 1
    assert seen >= 35


def test_a_list_is_followed_to_its_end(world: World, hanse: Hanse) -> None:
    """Pages of two become one table."""
    clusters(world, "a", "b", "c", "d", "e")
    result = hanse("registry", "list-clusters")
    assert result.status == 0
    assert result.out.splitlines()[0].split() == ["NAME", "LABELS", "REGION", "ZONES", "STATE"]
    assert [line.split()[0] for line in result.out.splitlines()[1:]] == [
        f"clusters/{name}" for name in "abcde"
    ]


def test_one_page_says_how_to_get_the_next(world: World, hanse: Hanse) -> None:
    """A page size asks for one page."""
    clusters(world, "a", "b", "c")
    result = hanse("registry", "list-clusters", "--page-size", "2")
    assert len(result.out.splitlines()) == 3
    assert "--page-token 2" in result.err
    rest = hanse("registry", "list-clusters", "--page-size", "2", "--page-token", "2")
    assert [line.split()[0] for line in rest.out.splitlines()[1:]] == ["clusters/c"]
    assert len(hanse("registry", "list-clusters", "--page-size", "2", "--all").out.splitlines()) == 4


def test_json_and_yaml_say_the_same(world: World, hanse: Hanse) -> None:
    """Both are protobuf's JSON form."""
    clusters(world, "a")
    as_json = json.loads(hanse("registry", "get-cluster", "clusters/a", "-o", "json").out)
    as_yaml = yaml.safe_load(hanse("registry", "get-cluster", "--name", "clusters/a", "-o", "yaml").out)
    assert as_json == as_yaml
    assert as_json["zones"] == ["a", "b"]
    assert as_json["state"] == "READY"


def test_flags_of_nested_messages_maps_and_masks(world: World, hanse: Hanse) -> None:
    """Dots go into messages, maps take KEY=VALUE, masks take paths, lists repeat their flag."""
    result = hanse(
        "registry",
        "update-cluster",
        "--cluster.name",
        "clusters/a",
        "--cluster.labels",
        "tier=prod",
        "--cluster.labels",
        "team=web",
        "--cluster.zones",
        "x",
        "--cluster.zones",
        "y",
        "--cluster.unschedulable",
        "--cluster.taints",
        '{"key": "k", "effect": "NO_EXECUTE"}',
        "--update-mask",
        "labels,zones,kubernetes_version",
    )
    assert result.status == 0, result.err
    request = world.last(registry.UpdateClusterRequest)
    assert dict(request.cluster.labels) == {"tier": "prod", "team": "web"}
    assert list(request.cluster.zones) == ["x", "y"]
    assert request.cluster.unschedulable
    assert request.cluster.taints[0].effect == TaintEffect.NO_EXECUTE
    assert list(request.update_mask.paths) == ["labels", "zones", "kubernetes_version"]


def test_a_message_as_json_with_flags_on_top(world: World, hanse: Hanse, tmp_path: Path) -> None:
    """--cluster gives the whole, --cluster.region corrects one field; a file may be YAML."""
    file = tmp_path / "cluster.yaml"
    file.write_text("name: clusters/a\nregion: old\nzones: [z]\n")
    hanse("registry", "update-cluster", "--cluster", f"@{file}", "--cluster.region", "new")
    request = world.last(registry.UpdateClusterRequest)
    assert (request.cluster.region, list(request.cluster.zones)) == ("new", ["z"])


def test_bytes_come_from_a_file_and_enums_by_name(world: World, hanse: Hanse, tmp_path: Path) -> None:
    """Names of enums in any case."""
    file = tmp_path / "patch.json"
    file.write_bytes(b'{"a": 1}')
    hanse(
        "federation",
        "patch-object",
        "objects/core/configmaps/shop/c",
        "--patch",
        f"@{file}",
        "--type",
        "merge_patch",
    )
    request = world.last(federation.PatchObjectRequest)
    assert (request.patch, request.type) == (b'{"a": 1}', federation.PatchType.MERGE_PATCH)


def test_manifests_are_shown_open_and_taken_back(world: World, hanse: Hanse) -> None:
    """Bytes that hold JSON are shown as JSON, and --request takes them so."""
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}}
    world.objects["objects/core/configmaps/shop/c"] = manifest
    shown = json.loads(hanse("federation", "get-object", "objects/core/configmaps/shop/c", "-o", "json").out)
    assert shown["manifest"] == manifest
    result = hanse("federation", "apply-object", "--request", json.dumps({"manifest": manifest}))
    assert result.status == 0, result.err
    assert json.loads(world.last(federation.ApplyObjectRequest).manifest) == manifest


def test_a_filter_and_a_parent(world: World, hanse: Hanse) -> None:
    """They are sent as they are given."""
    hanse("syncer", "list-sync-states", "--filter", "phase = FAILED", "--parent", "syncStates/apps")
    request = world.last(syncer.ListSyncStatesRequest)
    assert (request.filter, request.parent) == ("phase = FAILED", "syncStates/apps")


def test_a_stream_is_printed_as_it_comes(world: World, hanse: Hanse) -> None:
    """One line for each change; this one ends by itself."""
    clusters(world, "a", "b")
    result = hanse("registry", "watch-clusters", "--revision", "1")
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0].startswith("UPDATED clusters/a ")
    assert "state=READY" in lines[0]
    assert lines[0].endswith("@7")
    as_json = hanse("registry", "watch-clusters", "--revision", "1", "-o", "json").out.splitlines()
    assert [json.loads(line)["cluster"]["name"] for line in as_json] == ["clusters/a", "clusters/b"]


def test_a_stream_ends_on_ctrl_c(world: World) -> None:
    """With status 0 and no traceback, after having shown what came."""
    clusters(world, "a")
    command = [
        sys.executable,
        "-m",
        "hanse_cli.main",
        "--config",
        str(world.config),
        "registry",
        "watch-clusters",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("UPDATED clusters/a")
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


MISTAKES = [
    (("registry", "list-clusters", "--page-size", "x"), 2, "not a valid integer"),
    (("registry", "list-clusters", "--page-size", "99999999999"), 2, "page_size field: Value out of range"),
    (("registry", "list-clusters", "--nonsense"), 2, "No such option"),
    (("registry", "lst-clusters"), 2, "No such command"),
    (("nonsense",), 2, "No such command"),
    (("registry", "get-cluster"), 2, "missing option --name"),
    (("registry", "get-cluster", "clusters/none"), 4, "there is no cluster clusters/none"),
    (("registry", "update-cluster", "--cluster", "{"), 2, "--cluster is not valid JSON"),
    (("registry", "update-cluster", "--cluster", "[]"), 2, "--cluster must be a JSON object"),
    (("registry", "update-cluster", "--cluster", "@/none"), 2, "cannot read /none"),
    (("registry", "update-cluster", "--cluster.labels", "x"), 2, "must be KEY=VALUE"),
    (("registry", "update-cluster", "--cluster", '{"nme": 1}'), 2, "nme"),
    (("registry", "list-clusters", "--request", '{"pageSize": "x"}'), 2, "pageSize"),
    (("federation", "patch-object", "x", "--patch", "{}", "--type", "NONE"), 2, "NONE"),
    (("registry", "get-api-catalogue", "clusters/a/apiCatalogue"), 7, "you may not see this"),
    (("federation", "update-object", "--manifest", "{}"), 5, "it changed meanwhile"),
    (("--timeout", "0.2", "registry", "probe-cluster", "clusters/a"), 6, "--timeout"),
    (("--timeout", "0", "registry", "list-clusters"), 2, "--timeout"),
    (("get",), 2, "say what"),
    (("get", "nonsense"), 4, "serves no resource nonsense"),
    (("get", "deploy", "web"), 4, "does not exist"),
    (("get", "deploy/web", "cm"), 2, "'cm' must be RESOURCE/NAME"),
    (("delete", "deploy"), 2, "say which"),
    (("apply",), 2, "say what to apply"),
    (("apply", "-f", "/none.yaml"), 2, "cannot read /none.yaml"),
    (("explain", "deploy"), 2, "say which"),
    (("join", "a"), 2, "--cluster-kubeconfig"),
    (("join", "a", "--cluster-kubeconfig", "/none"), 2, "cannot read the kubeconfig /none"),
    (("unjoin", "none"), 4, "there is no cluster"),
]


@pytest.mark.parametrize(
    ("arguments", "status", "words"), MISTAKES, ids=[" ".join(each[0]) for each in MISTAKES]
)
def test_a_mistake_is_one_line_and_a_status(
    hanse: Hanse, arguments: tuple[str, ...], status: int, words: str
) -> None:
    """On standard error, with what is wrong; nothing on standard output."""
    result = hanse(*arguments)
    assert result.status == status, result.err
    assert words in result.err
    assert len(result.err.splitlines()) == 1
    assert "Traceback" not in result.err
    assert result.out == ""


def test_a_service_that_is_down_is_one_line_with_a_remedy(hanse: Hanse, world: World, tmp_path: Path) -> None:
    """It names the address and what to do."""
    world.config = tmp_path / "other.toml"
    world.config.write_text('[endpoints]\nregistry = "127.0.0.1:1"\n')
    result = hanse("clusters")
    assert result.status == 6
    assert len(result.err.splitlines()) == 1
    assert "hanse up" in result.err
    assert "127.0.0.1:1" in result.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[endpoints]\n", "no endpoint of the registry service"),
        ("nonsense", "not valid TOML"),
        ('[endpoints]\nregistry = "nowhere"\n', "must be HOST:PORT"),
        ("endpoints = 3\n", "must be a table"),
        ('what = "x"\n', "unknown key what"),
        ('ca = "ca.crt"\n[endpoints]\n', "cert is missing"),
    ],
)
def test_a_bad_configuration_is_one_line(
    hanse: Hanse, world: World, tmp_path: Path, text: str, words: str
) -> None:
    """It names the file."""
    world.config = tmp_path / "other.toml"
    world.config.write_text(text)
    result = hanse("clusters")
    assert result.status == 2
    assert words in result.err
    assert "other.toml" in result.err
    assert len(result.err.splitlines()) == 1


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(name=NAMES, revision=st.integers(0, 2**63 - 1), size=st.integers(-(2**31), 2**31 - 1))
def test_what_the_flags_say_is_what_is_sent(name: str, revision: int, size: int) -> None:
    """For every text and number of the field's type."""
    listed = build(scheduler.ListPlacementsRequest, {"field__filter": name, "field__page_size": size})
    assert (listed.filter, listed.page_size) == (name, size)
    watched = build(scheduler.WatchPlacementsRequest, {"field__revision": revision})
    assert watched.revision == revision
