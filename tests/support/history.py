"""Histories of writes, reads and watches, and the checker that says what is wrong with one.

Owns the values that recorders make and `violations`, a pure function: no I/O, no clock. What is checked
against is the store's own history, revision by revision; what clients know only counts as far as they were
told.

- No acknowledged write is lost: what a client was told to be stored is in the store's history, once, at the
  revision that it was told or before, and writes of one key that followed one another in time do so there.
- No update is lost: what was written over a version that the client had read followed that very state, and
  what was created followed absence.
- What was refused is not there; what may or may not have happened is there at most once.
- No watch skips, repeats or reorders: between where it began and where it ended a watcher saw every state of
  every key, in order. After a resume at a revision it may see changes of that very revision again, if there
  are several; after a list it goes on from there.
- Reads never go back: who reads after somebody was told something sees that or something newer, and the state
  that is read is one that the store had.

Times are in seconds of one clock. A state is a text that no two writes share, or None for absence.

Next: `tests.chaos.recorders`, which records.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

State: TypeAlias = str | None
Outcome: TypeAlias = Literal["done", "refused", "unknown"]
ANY: State = "*"
"""As the state of a `Write`: the key was to be gone or on its way out, whatever it was."""
LEAVING = " (leaving)"
"""What the state of an object on its way out ends with."""


@dataclass(frozen=True, slots=True)
class Change:
    """One state in the store's history."""

    revision: int
    key: str
    state: State


@dataclass(frozen=True, slots=True)
class Write:
    """What a client wrote, and was told: `revision` is that of the answer, 0 without one. `base` is the
    version that it was to be written over, 0 for absence; None if over whatever is there."""

    client: str
    key: str
    state: State
    start: float
    end: float
    outcome: Outcome
    revision: int = 0
    base: int | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """What a client read: single keys at their own revisions, or with `revision` all keys at that one."""

    client: str
    start: float
    end: float
    states: Mapping[str, tuple[State, int]]
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """A watcher listed everything, and goes on from `revision`."""

    revision: int
    states: Mapping[str, State]


@dataclass(frozen=True, slots=True)
class Resumed:
    """A watcher connected again, after `revision`; that is before what it saw if it did not see all of it."""

    revision: int


@dataclass(frozen=True, slots=True)
class Saw:
    """A watcher saw a state of a key; `revision` is the event's, 0 if it was not told: the next is meant."""

    key: str
    state: State
    revision: int


@dataclass(frozen=True, slots=True)
class Told:
    """A watcher was told that it has everything up to `revision`: a bookmark."""

    revision: int


Step: TypeAlias = Listed | Resumed | Saw | Told


@dataclass(slots=True)
class History:
    """All that was recorded. `watchers` have what each saw, in order, by name."""

    store: list[Change] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    watchers: dict[str, list[Step]] = field(default_factory=dict)


def violations(history: History) -> list[str]:
    """Return what is wrong, a sentence each; empty if nothing is."""
    store = _Store(history.store)
    store.shared |= _shared(history.watchers.values())
    found = [*store.problems, *_of_writes(history.writes, store), *_of_reads(history, store)]
    for name, steps in history.watchers.items():
        found += [f"{name} {problem}" for problem in _of_watcher(steps, store)]
    return found


def _shared(watchers: Iterable[Sequence[Step]]) -> set[int]:
    """Revisions of which somebody saw events of several keys: one transaction, or one of their parts."""
    keys: dict[int, set[str]] = defaultdict(set)
    for steps in watchers:
        for step in steps:
            if isinstance(step, Saw):
                keys[step.revision].add(step.key)
    return {revision for revision, known in keys.items() if len(known) > 1}


class _Store:
    """The store's history by key: states with the revisions at which they began."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.problems: list[str] = []
        self.revisions: dict[str, list[int]] = defaultdict(list)
        self.states: dict[str, list[State]] = defaultdict(list)
        counts: Counter[int] = Counter()
        last = 0
        for change in changes:
            if change.revision < last:
                self.problems.append(f"the store's history goes back from {last} to {change.revision}")
            last = change.revision
            counts[last] += 1
            if self.states[change.key] and self.states[change.key][-1] == change.state:
                continue  # written again as it was, such as a status
            self.revisions[change.key].append(change.revision)
            self.states[change.key].append(change.state)
        self.shared = {revision for revision, count in counts.items() if count > 1}
        self.last = last

    def index(self, key: str, revision: int) -> int:
        """Which state the key had at a revision, counted from 0; -1 before the first."""
        return bisect_right(self.revisions[key], revision) - 1 if key in self.revisions else -1

    def state(self, key: str, revision: int) -> State:
        """What state the key had at a revision."""
        index = self.index(key, revision)
        return self.states[key][index] if index >= 0 else None

    def began(self, key: str, state: State) -> list[int]:
        """At which revisions a key got a state."""
        pairs = zip(self.revisions.get(key, ()), self.states.get(key, ()), strict=True)
        return [revision for revision, each in pairs if each == state]

    def ended(self, key: str, revision: int) -> float:
        """When what a key was at a revision gave way to something else."""
        after = self.index(key, revision) + 1
        revisions = self.revisions.get(key, [])
        return revisions[after] if after < len(revisions) else float("inf")


def _of_writes(writes: Sequence[Write], store: _Store) -> list[str]:
    found: list[str] = []
    told: dict[tuple[str, State], set[int]] = defaultdict(set)
    for write in writes:
        if write.state == ANY:
            continue
        what = f"{write.client}'s write of {write.state} to {write.key}"
        began = store.began(write.key, write.state)
        if len(began) > 1:
            found.append(f"{what} is there {len(began)} times, at {began}")
        if write.outcome == "refused" and began:
            found.append(f"{what} was refused, and is there at {began[0]}")
        if write.outcome != "done":
            continue
        told[write.key, write.state].add(write.revision)
        if not began:
            found.append(f"{what} was acknowledged at {write.revision}, and is lost")
        elif store.state(write.key, write.revision) != write.state:
            there = store.state(write.key, write.revision)
            found.append(f"{what} was acknowledged at {write.revision}, where the store has {there}")
    for (key, state), revisions in told.items():
        if len(revisions) > 1:
            found.append(f"the write of {state} to {key} was acknowledged twice, at {sorted(revisions)}")
    return found + _lost_updates(writes, store) + _out_of_order(writes, store) + _lost_deletes(writes, store)


def _lost_updates(writes: Sequence[Write], store: _Store) -> list[str]:
    """Writes over something else than the client had read."""
    found = []
    for write in writes:
        began = store.began(write.key, write.state)
        if write.base is None or write.state == ANY or not began:
            continue
        before = store.index(write.key, began[0]) - 1
        replaced = store.states[write.key][before] if before >= 0 else None
        if replaced is not None if write.base == 0 else before != store.index(write.key, write.base):
            found.append(
                f"{write.client}'s write of {write.state} to {write.key} was to be over what was there at "
                f"{write.base}, and is over {replaced}: an update is lost"
            )
    return found


def _out_of_order(writes: Sequence[Write], store: _Store) -> list[str]:
    """Writes of one key of which one was over before the other began."""
    found = []
    by_key: dict[str, list[tuple[Write, int]]] = defaultdict(list)
    for write in writes:
        if write.outcome == "done" and write.state != ANY:
            began = store.began(write.key, write.state)
            if began:
                by_key[write.key].append((write, began[0]))
    for key, known in by_key.items():
        for earlier, before in known:
            for later, after in known:
                if earlier.end < later.start and before > after:
                    found.append(
                        f"{later.state} was written to {key} after {earlier.state}, and is in the store "
                        f"before it, at {after} and {before}"
                    )
    return found


def _lost_deletes(writes: Sequence[Write], store: _Store) -> list[str]:
    """Deletions that were acknowledged, and of which the store knows nothing."""
    found = []
    for write in writes:
        if write.state == ANY and write.outcome == "done":
            state = store.state(write.key, write.revision) if write.revision else None
            if state is not None and not state.endswith(LEAVING):
                found.append(
                    f"{write.client}'s deletion of {write.key} was acknowledged at {write.revision}, where "
                    f"the store has {state}"
                )
    return found


def _of_reads(history: History, store: _Store) -> list[str]:
    """Reads of states that never were, and reads that go back behind what somebody was told before."""
    found: list[str] = []
    # When it was told, the key, at least which revision.
    known = [(w.end, w.key, w.revision) for w in history.writes if w.outcome == "done" and w.revision]
    for read in history.reads:
        known += [(read.end, key, read.revision or revision) for key, (_, revision) in read.states.items()]
    known.sort()
    least: dict[str, int] = defaultdict(int)
    position = 0
    for read in sorted(history.reads, key=lambda read: read.start):
        while position < len(known) and known[position][0] < read.start:
            _, key, revision = known[position]
            least[key] = max(least[key], revision)
            position += 1
        keys = store.revisions.keys() | read.states.keys() if read.revision else read.states.keys()
        for key in sorted(keys):
            state, revision = read.states.get(key, (None, 0))
            found += _of_read(read, key, state, read.revision or revision, least=least[key], store=store)
    return found


def _of_read(read: Read, key: str, state: State, revision: int, *, least: int, store: _Store) -> list[str]:
    what = f"{read.client} read {state} of {key}" + (f" at {revision}" if revision else "")
    if revision:
        if store.state(key, revision) != state:
            return [f"{what}, where the store has {store.state(key, revision)}"]
        if read.revision and revision < least:
            return [f"{what} after it was known to be at {least}: reads go back"]
        if store.ended(key, revision) <= least:
            return [f"{what} after it was known to be at {least}: reads go back"]
        return []
    # Absent, and nobody says since when: it must have been so at some time since what was known.
    first = max(0, store.index(key, least))
    states = store.states.get(key, [])
    absent = not states or store.index(key, least) < 0 or any(each is None for each in states[first:])
    return [] if absent else [f"{what} after it was known to be at {least}: reads go back"]


def _of_watcher(steps: Sequence[Step], store: _Store) -> list[str]:
    found: list[str] = []
    seen: dict[str, int] = {}  # which state of each key was seen last
    delivered: set[tuple[str, int]] = set()
    at = again = -1  # the revision reached; that of a resume, of which changes may come again
    began = False
    for step in steps:
        if isinstance(step, Listed):
            if step.revision < at:
                found.append(f"listed at {step.revision} after it was at {at}: reads go back")
            found += _of_list(step, store)
            at, again, began = step.revision, -1, True
            seen = {key: store.index(key, at) for key in store.revisions}
            delivered = set()
        elif not began:
            found.append("went on before it had listed: the recorder is wrong")
        elif isinstance(step, Resumed):
            if step.revision > at:
                found.append(f"resumed at {step.revision} when it was at {at}: the recorder is wrong")
            again = step.revision
        elif isinstance(step, Told):
            if step.revision < at:
                found.append(f"was told of {step.revision} after it was at {at}: reads go back")
            at = max(at, step.revision)
            found += _missed(store, seen, at)
        elif not _is_after(step, store):
            event = _with_revision(step, store, seen)
            found += _of_event(event, store, at=at, again=again, seen=seen, delivered=delivered)
            at = max(at, event.revision)
    return found + (_missed(store, seen, at) if began else [])


def _is_after(step: Saw, store: _Store) -> bool:
    """Whether an object on its way out, as the store was recorded to its end, has gone after that."""
    states = store.states.get(step.key, [])
    leaving = bool(states) and (states[-1] or "").endswith(LEAVING)
    return leaving and step.state is None and (not step.revision or step.revision > store.last)


def _with_revision(step: Saw, store: _Store, seen: dict[str, int]) -> Saw:
    """The event with the revision of the state that it means: the one seen last, again, or the next."""
    revisions, states = store.revisions.get(step.key, []), store.states.get(step.key, [])
    last = seen.get(step.key, -1)
    if step.revision or not revisions:
        return step
    again = last >= 0 and states[last] == step.state
    return replace(step, revision=revisions[last if again else min(last + 1, len(revisions) - 1)])


def _missed(store: _Store, seen: dict[str, int], at: int) -> list[str]:
    """What a watcher that has everything up to `at` has not seen."""
    found = []
    for key in sorted(store.revisions):
        index = store.index(key, at)
        missed = store.states[key][seen.get(key, -1) + 1 : index + 1]
        if missed:
            found.append(f"skipped {missed} of {key}, and was at {at}")
            seen[key] = index
    return found


def _of_list(step: Listed, store: _Store) -> list[str]:
    return [
        f"listed {step.states.get(key)} of {key} at {step.revision}, where the store has "
        f"{store.state(key, step.revision)}"
        for key in sorted(store.revisions.keys() | step.states.keys())
        if store.state(key, step.revision) != step.states.get(key)
    ]


def _of_event(
    step: Saw, store: _Store, *, at: int, again: int, seen: dict[str, int], delivered: set[tuple[str, int]]
) -> list[str]:
    what = f"saw {step.state} of {step.key} at {step.revision}"
    if step.revision < at:
        return [f"{what} after it was at {at}: reordered"]
    if (step.key, step.revision) in delivered:
        if again >= 0 and (step.revision > again or (step.revision == again and again in store.shared)):
            return []
        return [f"{what} twice: repeated"]
    delivered.add((step.key, step.revision))
    index, last = store.index(step.key, step.revision), seen.get(step.key, -1)
    if store.state(step.key, step.revision) != step.state:
        return [f"{what}, where the store has {store.state(step.key, step.revision)}"]
    seen[step.key] = max(index, last)
    if index > last + 1:
        return [f"{what} and skipped {store.states[step.key][last + 1 : index]}"]
    if index < last:
        return [f"{what} after a newer state: reordered"]
    return []
