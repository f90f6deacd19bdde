"""What waits for something else in a member, and is woken at once when that is there.

Owns the register of (what is waited for, who waits). A token names what is waited for: `namespace` or `api`.
Used from one event loop.

Next: `hanse_syncer.act.reconciler`.
"""

from __future__ import annotations

from collections.abc import Collection


def namespace(name: str) -> str:
    """Return the token of a namespace."""
    return f"namespace {name}"


def api(group: str, resource: str) -> str:
    """Return the token of a resource that is to be served."""
    return f"api {group}/{resource}"


class Waiting:
    """Who waits for what. An object waits for at most one thing."""

    def __init__(self) -> None:
        self._by_token: dict[str, set[str]] = {}
        self._by_path: dict[str, str] = {}

    def add(self, token: str, path: str) -> None:
        """Let `path` wait for `token` and for nothing else."""
        self.remove(path)
        self._by_token.setdefault(token, set()).add(path)
        self._by_path[path] = token

    def remove(self, path: str) -> None:
        """`path` no longer waits."""
        token = self._by_path.pop(path, None)
        if token is not None:
            paths = self._by_token[token]
            paths.discard(path)
            if not paths:
                del self._by_token[token]

    def take(self, token: str) -> set[str]:
        """Return who waits for `token`, and let them go."""
        paths = self._by_token.pop(token, set())
        for path in paths:
            del self._by_path[path]
        return paths

    def take_served(self, served: Collection[tuple[str, str]]) -> list[str]:
        """Return who waits for one of the resources (group, plural) that are served, and let them go."""
        tokens = [api(group, plural) for group, plural in served]
        return [path for token in tokens if token in self._by_token for path in self.take(token)]
