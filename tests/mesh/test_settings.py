"""Settings from flags, environment, file and defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from hanse.errors import ConfigError
from hanse.process.settings import ServiceSettings, Settings, TlsFiles, field_docs, split_address


@dataclass(frozen=True)
class ExampleSettings(ServiceSettings):
    """An example."""

    service: ClassVar[str] = "example"

    size: int = 7
    """How many; 100 % is not a number."""
    ratio: float = 0.5
    """Share."""
    fast: bool = False
    """Whether to hurry."""
    names: tuple[str, ...] = ()
    """Some names."""
    home: Path = Path("/nowhere")
    """A directory."""
    mode: Literal["a", "b"] = "a"
    """Which."""


def load(
    *argv: str, environ: Mapping[str, str] | None = None, file: str | None = None, tmp: Path | None = None
) -> ExampleSettings:
    """Load with a file's text, if given."""
    flags: Sequence[str] = argv
    if file is not None and tmp is not None:
        (tmp / "x.toml").write_text(file)
        flags = ["--config", str(tmp / "x.toml"), *argv]
    return ExampleSettings.load(flags, environ or {})


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    """Each source fills what those before it leave open."""
    settings = load(
        "--size",
        "1",
        environ={"HANSE_EXAMPLE_SIZE": "2", "HANSE_EXAMPLE_RATIO": "0.2"},
        file='size = 3\nratio = 0.3\nmode = "b"\n',
        tmp=tmp_path,
    )
    assert (settings.size, settings.ratio, settings.mode, settings.fast) == (1, 0.2, "b", False)


def test_every_type_is_read_from_text_and_from_toml(tmp_path: Path) -> None:
    """Text as in flags and variables; TOML in its own types."""
    environ = {
        "HANSE_EXAMPLE_NAMES": "a, b,",
        "HANSE_EXAMPLE_FAST": "yes",
        "HANSE_EXAMPLE_HOME": "/tmp/x",
        "HANSE_EXAMPLE_RATIO": "1",
    }
    from_text = load("--no-fast", environ=environ)
    assert (from_text.names, from_text.fast, from_text.home, from_text.ratio) == (
        ("a", "b"),
        False,
        Path("/tmp/x"),
        1.0,
    )
    from_toml = load(file='names = ["a"]\nfast = true\nratio = 1\nhome = "/h"', tmp=tmp_path)
    assert (from_toml.names, from_toml.fast, from_toml.ratio, from_toml.home) == (
        ("a",),
        True,
        1.0,
        Path("/h"),
    )


@pytest.mark.parametrize(
    ("argv", "environ", "file", "message"),
    [
        (["--size", "many"], {}, "", r"flag --size is 'many': it must be a whole number"),
        ([], {"HANSE_EXAMPLE_FAST": "maybe"}, "", "variable HANSE_EXAMPLE_FAST is 'maybe'"),
        ([], {}, "size = true", "setting size is True: it must be a whole number"),
        ([], {}, "names = [1]", "it must be a list of strings"),
        ([], {}, "ratio = nan", "it must be a number"),
        (["--mode", "c"], {}, "", "flag --mode is 'c': it must be one of a, b"),
        ([], {}, "sise = 3", "setting sise in .* is unknown: did you mean size"),
        ([], {"HANSE_EXAMPLE_RATIOO": "1"}, "", "HANSE_EXAMPLE_RATIOO is unknown: did you mean ratio"),
        (["--sise", "3"], {}, "", "unrecognized arguments: --sise 3; see --help"),
        ([], {}, "size = = 3", "is not valid TOML"),
        (["--listen", "nowhere"], {}, "", "setting listen is 'nowhere': it must be host:port"),
        (["--tls-ca", "x"], {}, "", "setting tls_cert is empty: give all of"),
        (["--peers", "dns"], {}, "", "setting peers is 'dns': it must be name=host:port"),
        (["--trace-ratio", "2"], {}, "", "setting trace_ratio"),
        (["--etcd-prefix", "x/"], {}, "", "setting etcd_prefix"),
        (["--etcd-endpoints", ""], {}, "", "setting etcd_endpoints is empty"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(
    tmp_path: Path, argv: list[str], environ: dict[str, str], file: str, message: str
) -> None:
    """One ConfigError that says which setting, where, and what it must be."""
    with pytest.raises(ConfigError, match=message):
        load(*argv, environ=environ, file=file, tmp=tmp_path)


def test_a_missing_file_is_named() -> None:
    """The path is in the message."""
    with pytest.raises(ConfigError, match=r"cannot read /nowhere/x\.toml"):
        load("--config", "/nowhere/x.toml")


def test_variables_that_kubernetes_adds_are_not_settings() -> None:
    """A Service named hanse-example puts its own variables into every container."""
    environ = {
        "HANSE_EXAMPLE_SERVICE_HOST": "10.0.0.1",
        "HANSE_EXAMPLE_SERVICE_PORT": "53",
        "HANSE_EXAMPLE_SERVICE_PORT_DNS": "53",
        "HANSE_EXAMPLE_PORT": "udp://10.0.0.1:53",
        "HANSE_EXAMPLE_PORT_53_UDP_ADDR": "10.0.0.1",
        "HANSE_OTHER": "x",
    }
    assert load(environ=environ) == ExampleSettings()


def test_help_lists_every_field_with_its_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    """Own and inherited fields."""
    with pytest.raises(SystemExit) as ended:
        load("--help")
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--size VALUE How many; 100 % is not a number. (default: 7)" in text
    assert "--etcd-endpoints VALUE Endpoints of etcd" in text
    assert "--fast, --no-fast Whether to hurry." in text


def test_every_common_setting_is_documented() -> None:
    """No field without a docstring."""
    docs = field_docs(ServiceSettings)
    assert set(ServiceSettings.__dataclass_fields__) == set(docs)


def test_a_required_setting_that_is_missing_is_named() -> None:
    """With all three ways to give it."""

    @dataclass(frozen=True)
    class Required(Settings):
        where: str

    with pytest.raises(ConfigError, match="setting where is required: give --where, HANSE_WHERE or where"):
        Required.load([], {})
    assert Required.load(["--where", "x"], {}).where == "x"


def test_peers_and_tls_files() -> None:
    """Helpers over the plain fields."""
    settings = load("--peers", "dns=127.0.0.1:1,syncer=127.0.0.1:2")
    assert settings.peer("syncer") == "127.0.0.1:2"
    assert settings.peer("registry") == ""
    assert settings.tls is None
    files = load("--tls-ca", "a", "--tls-cert", "b", "--tls-key", "c").tls
    assert files == TlsFiles(Path("a"), Path("b"), Path("c"))
    assert split_address("[::1]:53") == ("::1", 53)
