"""Messages as tables, JSON and YAML.

Owns how a protobuf message is shown. JSON is protobuf's own, except that bytes which hold a JSON object or
list, such as manifests, are shown as what they hold; `--request` takes them back like that. Cells are cut to
fit a terminal only: a program that reads a table, and a person who asks for `-o wide`, gets all of them.

Pure functions; `Printer` alone writes, to standard output.

Next: `hanse_cli.generated`.
"""

from __future__ import annotations

import base64
import copy
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import click
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hanse import documents
from hanse.messages import is_time, moment_of
from hanse_cli.flags import is_map
from hanse_cli.plain import plain

_NOT_IN_TABLES = frozenset({"etag", "traceparent", "uid", "revision"})
STRUCTURED = frozenset({"json", "yaml"})
WIDE = "wide"
"""The form of a table with all columns, none of them cut."""
CELL = 60
"""Longest cell of a table on a terminal, in characters."""
_EVENT_WORDS = 8
"""Most fields of one message of a stream in a line."""


def to_document(message: Message) -> dict[str, Any]:
    """Return the message as plain JSON values."""
    try:
        document: dict[str, Any] = json_format.MessageToDict(message)
    except (ValueError, json_format.Error):  # of a time that is none
        message = _with_times(message)
        document = json_format.MessageToDict(message)
    return _open_bytes(message, document)


def _open_bytes(message: Message, document: dict[str, Any]) -> dict[str, Any]:
    for field, value in message.ListFields():
        key = field.json_name
        if field.type == FieldDescriptor.TYPE_BYTES and not field.is_repeated:
            document[key] = _opened(value)
        elif field.message_type is None or is_map(field):
            continue
        elif isinstance(document.get(key), dict):
            document[key] = _open_bytes(value, document[key])
        elif field.is_repeated and isinstance(document.get(key), list):
            document[key] = [
                _open_bytes(item, shown) if isinstance(shown, dict) else shown
                for item, shown in zip(value, document[key], strict=True)
            ]
    return document


def _with_times(message: Message) -> Message:
    """Return the message without the timestamps that are no times."""
    kept = copy.deepcopy(message)
    waiting = [kept]
    while waiting:
        part = waiting.pop()
        for field, value in part.ListFields():
            if field.message_type is None:
                continue
            if is_map(field):
                values = field.message_type.fields_by_name["value"]
                waiting += value.values() if values.message_type is not None else ()
            elif field.is_repeated:
                waiting += value
            elif isinstance(value, Timestamp) and not is_time(value):
                part.ClearField(field.name)
            else:
                waiting.append(value)
    return kept


def _opened(value: bytes) -> Any:
    try:
        inner = json.loads(value)
    except ValueError:
        inner = None
    return inner if isinstance(inner, dict | list) else base64.b64encode(value).decode()


def to_yaml(document: Any) -> str:
    """YAML with keys in their order."""
    return documents.to_yaml(document)


def to_json(document: Any) -> str:
    """Indented JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def fields_of(message: Message) -> list[FieldDescriptor]:
    """Return the fields of a message in the order of its definition."""
    return [cast(FieldDescriptor, field) for field in message.DESCRIPTOR.fields]


def list_field(message: Message) -> FieldDescriptor | None:
    """Return the repeated field of a list response; None if the message is not one."""
    fields = fields_of(message)
    repeated = [field for field in fields if field.is_repeated and field.message_type is not None]
    if len(repeated) == 1 and all(
        field is repeated[0] or field.name in {"next_page_token", "revision"} for field in fields
    ):
        return repeated[0]
    return None


def rows_of(
    items: Sequence[Message], *, limit: int | None, wide: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of a table of like messages; columns without any content are left out.

    `limit` is the longest cell in characters, None for none; `wide` adds what is for programs and experts.
    """
    if not items:
        return [], []
    fields = [field for field in fields_of(items[0]) if _has_column(field, wide=wide)]
    rows = [[cell(item, field, limit=limit) for field in fields] for item in items]
    used = [index for index in range(len(fields)) if any(row[index] for row in rows)]
    header = [fields[index].name.replace("_", " ").upper() for index in used]
    return header, [[row[index] for index in used] for row in rows]


def _has_column(field: FieldDescriptor, *, wide: bool) -> bool:
    return (wide or field.name not in _NOT_IN_TABLES) and field.type != FieldDescriptor.TYPE_BYTES


def cell(message: Message, field: FieldDescriptor, *, limit: int | None = CELL) -> str:
    """Return one field in one line of at most `limit` characters; empty if it is not set."""
    value = getattr(message, field.name)
    if is_map(field):
        return _cut(",".join(f"{key}={value[key]}" for key in sorted(value)), limit)
    if field.is_repeated:
        return _cut(",".join(_one(field, item) for item in value), limit)
    if field.has_presence and not message.HasField(field.name):
        return ""
    if not field.has_presence and not value:
        return ""
    return _cut(_one(field, value), limit)


def _one(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return str(value) if named is None else named.name
    if field.message_type is not None:
        return _brief(field.message_type.full_name, value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _brief(kind: str, value: Any) -> str:
    """Return a nested message in a few words."""
    if kind == "google.protobuf.Timestamp":
        return since(value)
    if kind == "hanse.api.type.v1.ObjectReference":
        group = f".{value.group}" if value.group else ""
        where = f"{value.namespace}/" if value.namespace else ""
        return f"{value.resource or value.kind}{group} {where}{value.name}"
    if kind == "hanse.api.type.v1.Condition":
        return f"{value.type}={cell(value, value.DESCRIPTOR.fields_by_name['status'])}"
    parts = [
        cell(value, field)
        for field in value.DESCRIPTOR.fields
        if field.message_type is None and field.type != FieldDescriptor.TYPE_BYTES
    ]
    return ":".join(part for part in parts[:2] if part)


def since(stamp: Timestamp) -> str:
    """Return how long ago a time of a message is; "" for one that is no time."""
    moment = moment_of(stamp)
    return ago(moment) if moment is not None else ""


def ago(moment: datetime, *, now: datetime | None = None) -> str:
    """Return how long ago, in one unit, as kubectl shows ages; in the future with a + before it."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    sign, seconds = ("+", -seconds) if seconds < 0 else ("", seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{sign}{int(seconds // size)}{unit}"
    return f"{sign}{int(seconds)}s"


def _cut(text: str, limit: int | None) -> str:
    text = plain(text)
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


class Printer:
    """Writes messages and tables to standard output in the form that was asked for."""

    def __init__(self, output: str) -> None:
        self.output = output
        self.wide = output == WIDE
        self.structured = output in STRUCTURED
        """Whether documents are printed, for programs, and no tables."""
        self._limit = CELL if not self.wide and sys.stdout.isatty() else None

    def message(self, message: Message) -> None:
        """Print one message: its fields below each other, or as a document."""
        if self.structured:
            self.document(to_document(message))
            return
        listed = list_field(message)
        if listed is not None:
            header, rows = rows_of(list(getattr(message, listed.name)), limit=self._limit, wide=self.wide)
            self.table(header, rows)
            return
        click.echo(to_yaml(to_document(message)).rstrip())

    def document(self, document: Any) -> None:
        """Print one document in JSON or YAML."""
        click.echo(to_json(document) if self.output == "json" else to_yaml(document).rstrip())

    def event(self, message: Message) -> None:
        """Print one message of a stream, at once: a line, a line of JSON, or a YAML document."""
        if self.structured:
            self.change(to_document(message))
            return
        click.echo(event_line(message, limit=self._limit, wide=self.wide))
        sys.stdout.flush()

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table without lines, as kubectl's. No rows: a sentence on standard error."""
        rows = list(rows)
        if rows:
            GrowingTable(header).add(rows)
        else:
            click.echo("nothing found", err=True)

    def change(self, document: Any) -> None:
        """Print one document of several that follow each other: a line of JSON, or a YAML document."""
        if self.output == "json":
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            click.echo(f"---\n{to_yaml(document).rstrip()}")
        sys.stdout.flush()


class GrowingTable:
    """A table whose rows come bit by bit; its header is printed with the first of them.

    A column never gets narrower: as in kubectl, later rows are aligned with those before, as far as they fit.
    """

    def __init__(self, header: Sequence[str]) -> None:
        self._header = list(header)
        self._widths: list[int] = []

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Print further rows, at once."""
        lines = [[plain(text) for text in row] for row in rows]
        if not lines:
            return
        if not self._widths:
            self._widths = [0] * len(self._header)
            lines = [self._header, *lines]
        self._widths = [
            max(width, *(len(line[index]) for line in lines)) for index, width in enumerate(self._widths)
        ]
        for line in lines:
            padded = (text.ljust(width) for text, width in zip(line, self._widths, strict=True))
            click.echo("  ".join(padded).rstrip())
        sys.stdout.flush()


def event_line(message: Message, *, limit: int | None, wide: bool) -> str:
    """Return a message of a stream in one line: what happened, to what, and what it is like now."""
    words: list[str] = []
    for field in fields_of(message):
        if field.message_type is not None and not field.is_repeated and message.HasField(field.name):
            inner = getattr(message, field.name)
            columns = [each for each in inner.DESCRIPTOR.fields if _has_column(each, wide=wide)]
            shown = [cell(inner, each, limit=limit) for each in columns]
            words += [
                each if column.name == "name" else f"{column.name}={each}"
                for column, each in zip(columns, shown, strict=True)
                if each
            ][: None if wide else _EVENT_WORDS]
        elif field.message_type is None:
            shown_value = cell(message, field, limit=limit)
            words += [f"@{shown_value}" if field.name == "revision" else shown_value] if shown_value else []
    return " ".join(words)
