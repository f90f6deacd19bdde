"""Exit statuses, and errors as one line for a person.

0 done; 1 it failed or was refused, or (`hanse diff`) something differs; 2 wrong usage or input; 3 (`hanse
status`) nothing runs; 4 not found; 5 exists already, or changed meanwhile; 6 a service cannot be reached or
is too slow; 7 not allowed; 70 a defect of Hanse; 130 interrupted.

Pure functions, and one write to standard error.

Next: `hanse_cli.main`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import click
import grpc

from hanse.errors import HanseError
from hanse_cli.plain import plain

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 4
CONFLICT = 5
UNREACHABLE = 6
DENIED = 7
DEFECT = 70
INTERRUPTED = 130

_BY_CODE: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: USAGE,
    grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: CONFLICT,
    grpc.StatusCode.ABORTED: CONFLICT,
    grpc.StatusCode.UNAVAILABLE: UNREACHABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: UNREACHABLE,
    grpc.StatusCode.UNAUTHENTICATED: DENIED,
    grpc.StatusCode.PERMISSION_DENIED: DENIED,
}


def status_of(error: HanseError) -> int:
    """Return the exit status for an error."""
    return _BY_CODE.get(error.code, FAILED)


def sentence(error: HanseError) -> str:
    """Return the error as one line. Errors of the transport are put into words that say what to do."""
    text = one_line(error.message)
    if error.code == grpc.StatusCode.UNAVAILABLE and _from_transport(text):
        return (
            f"the service cannot be reached ({_short(text)}): see `hanse status`, start it with `hanse up`, "
            "or name another configuration with --config"
        )
    if error.code == grpc.StatusCode.DEADLINE_EXCEEDED and text in {"", "Deadline Exceeded"}:
        return "the service did not answer in time: try again, or give it longer with --timeout"
    return text


def usage_sentence(error: click.ClickException) -> str:
    """Return a mistake on the command line as one line that says where help is."""
    text = one_line(error.format_message())
    context = getattr(error, "ctx", None)
    return f"{text.rstrip('.')}; see `{context.command_path} --help`" if context else text


def one_line(text: str) -> str:
    """`text` without line breaks and double blanks, as a terminal may have it."""
    return plain(text)


def complain(program: str, text: str) -> None:
    """Write one line to standard error."""
    click.echo(f"{program}: {text}", err=True)


def _from_transport(text: str) -> bool:
    return any(
        words in text
        for words in (
            "failed to connect",
            "connections to all backends",
            "Connection refused",
            "Socket closed",
        )
    )


def _short(text: str) -> str:
    """Return the address and the reason in gRPC's long explanation."""
    address = re.search(r"ipv[46]:(\S+:\d+)", text)
    reason = text
    for mark in ("last error: ", "Failed to connect to remote host: "):
        reason = reason.rpartition(mark)[2] or reason
    reason = reason[:160].removeprefix("UNKNOWN: ").removeprefix("UNAVAILABLE: ")
    return f"{address[1]}: {reason}" if address and address[1] not in reason else reason
