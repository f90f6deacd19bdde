"""The options of `hanse up` in a file, for those who keep them under version control.

Owns the form: TOML with the names of the options, dashes as underscores; tables `[port]` and
`[set.SERVICE]` for those that are given several times.

    advertise = ["fed.example.org"]
    https_port = 6443

    [set.scheduler]
    toleration_seconds = 60

Concurrency: none; read once. Next: `hanse_local.commands`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from hanse.errors import ConfigError

_TABLES: Final = {"port": "ports", "set": "settings"}
"""Tables, and the parameters of the command that they stand for."""


def read(path: Path, *, known: Collection[str]) -> dict[str, Any]:
    """Return what a file says, by parameter of the command, as the command line would have it.

    `known` are those parameters. Raises ConfigError that names the file and what is wrong in it.
    """
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    found: dict[str, Any] = {}
    for name, value in document.items():
        parameter = _TABLES.get(name, name)
        if parameter not in known or name in _TABLES.values():
            names = sorted({*_TABLES, *known} - set(_TABLES.values()))
            raise ConfigError(f"{path} has {name}, which is no option: there are {', '.join(names)}")
        if name in _TABLES:
            found[parameter] = [f"{key}={_word(path, key, each)}" for key, each in _flat(path, name, value)]
        elif isinstance(value, list):
            found[parameter] = [_word(path, name, each) for each in value]
        else:
            found[parameter] = value if isinstance(value, bool) else _word(path, name, value)
    return found


def _flat(path: Path, name: str, table: Any) -> list[tuple[str, Any]]:
    """Return the entries of a table and of those in it, by their names joined with dots."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: {name} must be a table, [{name}]")
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            found += [(f"{key}.{inner}", each) for inner, each in _flat(path, key, value)]
        else:
            found.append((key, value))
    return found


def _word(path: Path, name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(_word(path, name, each) for each in value)
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(
        f"{path}: {name} is {value!r}: it must be a text, a number, true, false or a list of them"
    )
