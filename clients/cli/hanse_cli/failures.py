"""What went wrong with some of several objects while the others were done.

Owns kubectl's rule: each failure is one line as soon as it happens, the rest goes on, and the exit status is
that of the first failure. Only a service that cannot be reached ends it, since the rest would fail likewise.

Concurrency: belongs to one command, which does one thing at a time.

Next: `hanse_cli.exits`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hanse.errors import HanseError
from hanse_cli import exits

PROGRAM = "hanse"


class Failures:
    """The failures of one command. `status` is the exit status, 0 so far if there was none."""

    def __init__(self) -> None:
        self.status = exits.OK
        self.unreachable = False
        """Whether one was that a service cannot be reached or does not answer."""

    @contextmanager
    def of(self, title: str) -> Iterator[None]:
        """Note and show an error of what is done with the object `title`, instead of raising it."""
        try:
            yield
        except HanseError as error:
            exits.complain(PROGRAM, f"{title}: {exits.sentence(error)}")
            status = exits.status_of(error)
            self.status = self.status or status
            self.unreachable = self.unreachable or status == exits.UNREACHABLE

    def left_out(self, count: int) -> None:
        """Say that `count` more objects were not tried."""
        if count:
            exits.complain(PROGRAM, f"{count} more {'was' if count == 1 else 'were'} not tried")
