"""Manifests from files, folders and standard input.

Owns reading and ordering: a folder gives its *.yaml, *.yml and *.json files in the order of their names;
namespaces come first, then CustomResourceDefinitions, then the rest as written.

Pure functions over files.

Next: `hanse_cli.commands.apply`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hanse.documents import yaml_texts
from hanse.errors import InvalidArgumentError

Manifest = dict[str, Any]
_ENDINGS = frozenset({".yaml", ".yml", ".json"})
_FIRST = {"Namespace": 0, "CustomResourceDefinition": 1}


def read(sources: Iterable[str]) -> list[Manifest]:
    """Return all manifests in files, folders and `-`. Raises InvalidArgumentError that names the file."""
    found = [
        manifest for source in sources for name, text in _texts(source) for manifest in parse(text, name)
    ]
    if not found:
        raise InvalidArgumentError(f"there is no manifest in {', '.join(sources)}")
    return sorted(found, key=lambda manifest: _FIRST.get(manifest["kind"], 2))


def title(manifest: Manifest) -> str:
    """Return how a manifest is called before its resource is known, such as deployment.apps/web."""
    group, slash, _ = str(manifest["apiVersion"]).partition("/")
    suffix = f".{group}" if slash else ""
    return f"{manifest['kind'].lower()}{suffix}/{manifest['metadata']['name']}"


def _texts(source: str) -> Iterator[tuple[str, str]]:
    if source == "-":
        yield "standard input", sys.stdin.read()
        return
    path = Path(source)
    try:
        files = (
            sorted(each for each in path.iterdir() if each.suffix in _ENDINGS) if path.is_dir() else [path]
        )
        for file in files:
            yield str(file), file.read_text()
    except OSError as error:
        raise InvalidArgumentError(f"cannot read {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{source} is not text: {error.reason}") from error


def parse(text: str, name: str) -> Iterator[Manifest]:
    """Yield the manifests in a text of YAML documents or JSON; lists are opened. Raises
    InvalidArgumentError.
    """
    documents = yaml_texts(text, what=name)
    for number, document in enumerate(documents, start=1):
        if document.value is None:
            continue
        where = name if len(documents) == 1 else f"{name}, document {number}"
        if document.repeated:
            raise InvalidArgumentError(f"{where}: {', '.join(document.repeated)}: say each key once")
        yield from _checked(document.value, where)


def _checked(document: Any, where: str) -> Iterator[Manifest]:
    if not isinstance(document, dict):
        raise InvalidArgumentError(f"{where} is no manifest: it must be a mapping with apiVersion and kind")
    for key in ("apiVersion", "kind"):
        if not isinstance(document.get(key), str) or not document[key]:
            raise InvalidArgumentError(f"{where} is no manifest: it has no {key}")
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _checked(item, where)
        return
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise InvalidArgumentError(f"{where}: the {document['kind']} has no metadata.name")
    yield document
