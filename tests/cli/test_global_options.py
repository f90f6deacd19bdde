"""`--config` and `--timeout` stand before a command or after it; the later one wins."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner
from hanse_cli.generated import SERVICES, ServiceGroup
from hanse_cli.kubefed import kubefed
from hanse_cli.main import _add_porcelain, hanse
from hanse_cli.session import GlobalOptions, with_global_options

from hanse.api.registry.v1.cluster_pb2 import Cluster
from tests.cli.conftest import Hanse, World


@pytest.mark.parametrize(
    "words",
    [
        ["clusters"],
        ["registry", "list-clusters"],
        ["get", "clusters"],
        ["orphans"],
        ["dns"],
        ["names"],
        ["placements"],
    ],
)
def test_options_are_taken_after_the_command(world: World, hanse: Hanse, words: list[str]) -> None:
    """The fixture names the right file first; the later one is used, so a wrong one is complained of."""
    world.clusters["clusters/a"] = Cluster(name="clusters/a")
    config = ["--config", str(world.config)]
    right = hanse("--config", "/none.toml", *words, *config, "--timeout", "9", "-o", "json")
    assert right.status == 0, right.err
    wrong = hanse(*config, *words, "--config", "/none.toml")
    assert wrong.status != 0
    assert "/none.toml" in wrong.err


def test_a_deadline_after_the_command_counts(world: World, hanse: Hanse) -> None:
    """The call that never ends has ended."""
    late = hanse("--timeout", "600", "registry", "probe-cluster", "clusters/a", "--timeout", "0.2")
    assert late.status == 6
    assert "--timeout" in late.err
    assert hanse("clusters", "--timeout", "0").status == 2


def test_every_command_has_them() -> None:
    """But for an option of its own with that name, which it keeps."""
    _add_porcelain()

    def leaves(command: click.Command, context: click.Context) -> list[click.Command]:
        if not isinstance(command, click.Group):
            return [command]
        below = [command.get_command(context, name) for name in command.list_commands(context)]
        return [leaf for each in below if each for leaf in leaves(each, click.Context(each, parent=context))]

    found = leaves(hanse, click.Context(hanse))
    assert len(found) > 50
    for command in found:
        flags = [flag for parameter in command.params for flag in parameter.opts]
        assert (flags.count("--config"), flags.count("--timeout")) == (1, 1), command.name


def test_kubefed_has_them_too(world: World) -> None:
    """Before its command and after it, as `hanse` has them."""
    config = str(world.config)
    for words in (["--config", config, "version"], ["version", "--config", config, "--timeout", "9"]):
        result = CliRunner().invoke(kubefed, words)
        assert result.exit_code == 0, result.output
        assert "0.1.0" in result.output
    context = click.Context(kubefed)
    for name in kubefed.list_commands(context):
        command = kubefed.get_command(context, name)
        assert command is not None
        flags = [flag for parameter in command.params for flag in parameter.opts]
        assert flags.count("--config") == 1, name


def test_they_are_added_once() -> None:
    """A command that is asked for twice has each option once; what a command owns stays its own."""
    own = click.Option(["--timeout"], type=int)
    command = click.Command("down", params=[own])
    assert with_global_options(with_global_options(command)).params[0] is own
    assert [option.opts for option in command.params] == [["--timeout"], ["--config"]]
    group = with_global_options(ServiceGroup(SERVICES["dns"]))
    assert [parameter.name for parameter in group.params] == ["config", "timeout"]


def test_a_deadline_is_ten_seconds_unless_it_is_given() -> None:
    """As the help says."""
    assert GlobalOptions() == GlobalOptions(config=None, timeout=10.0)
