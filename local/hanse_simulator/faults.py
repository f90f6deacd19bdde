"""Faults on demand: a member that is slow, answers errors, hangs, lies that it is empty, or drops watches.

For tests of those who talk to clusters. Only there when the setting `faults_enabled` is on. Administrators
set the rules that are in force at `/_sim/faults`; they are gone after a restart.

    PUT or POST {"rules": [{"action": "status", "code": 429, "verbs": ["create"], "count": 10}]}  replaces all
    GET returns them, with how often each has struck; DELETE ends all

A rule strikes requests that match all of `verbs`, `resources` (plurals), `namespaces` and `paths` (prefixes)
that it names; without any of them, all requests but its own path. `action` is one of

- `delay`: wait `seconds`, then go on with later rules and the request;
- `status`: answer with the HTTP status `code` and a Status (`retry_after` whole seconds for 429 and 503);
- `hang`: answer nothing for as long as the client waits;
- `empty`: answer lists with a list without items;
- `say`: answer with the HTTP status `code`, `media_type` and `body`, whatever was asked;
- `endless`: answer lists with pages that never end; `flood`: answer watches with events that never end;
- `huge`: answer with a body that never ends; `bomb`: with one that is large when it is unpacked; `catalogue`:
  with a discovery document of `size` resources (name its path);
- `drop`: cut the connection; watches that are open when the rule comes are cut too.

`probability` (default 1) and `count` (default 0, no limit) say how often. One event loop, no locks. Next:
`hanse_simulator.app`, `hanse_simulator.excess` for what is more than any cluster says.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, cast, get_args

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hanse.errors import InvalidArgumentError
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.server.app import KubeServer, Route
from hanse.kube.server.request import ResourcePath, parse_path, verb_of
from hanse_simulator import excess

PATH = "/_sim/faults"

Action = Literal[
    "delay", "status", "hang", "empty", "say", "drop", "endless", "flood", "huge", "bomb", "catalogue",
]  # fmt: skip
_OF_VERB = {"empty": "list", "endless": "list", "flood": "watch"}
"""Actions that strike one verb only."""
_REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict",
    410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FaultTarget:
    """What a request is about. `path` is the URL's; the others are "" where they do not apply."""

    path: str
    verb: str = ""
    resource: str = ""
    namespace: str = ""


@dataclass(slots=True)
class Rule:
    """One fault; see the module."""

    action: Action
    verbs: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    seconds: float = 0.0
    code: int = 500
    retry_after: int = 1
    size: int = 30_000
    media_type: str = "application/json"
    body: str = ""
    probability: float = 1.0
    count: int = 0
    struck: int = field(default=0)

    def concerns(self, target: FaultTarget) -> bool:
        """Report whether a request is one of those that this rule is about."""
        if target.verb != _OF_VERB.get(self.action, target.verb):
            return False
        return (
            (not self.verbs or target.verb in self.verbs)
            and (not self.resources or target.resource in self.resources)
            and (not self.namespaces or target.namespace in self.namespaces)
            and (not self.paths or target.path.startswith(self.paths))
        )

    @property
    def spent(self) -> bool:
        """Report whether the rule has struck as often as it may."""
        return bool(self.count) and self.struck >= self.count

    def to_json(self) -> dict[str, Any]:
        """Return the rule as it was given, and how often it has struck."""
        return {name: getattr(self, name) for name in self.__slots__}


def parse_rules(document: Any) -> list[Rule]:
    """Return the rules of a request's body. Raises InvalidArgumentError that says what is wrong."""
    rules = document.get("rules") if isinstance(document, dict) else None
    if not isinstance(rules, list):
        raise InvalidArgumentError('the body must be {"rules": [...]}')
    return [_parse_rule(rule) for rule in rules]


def _parse_rule(rule: Any) -> Rule:
    if not isinstance(rule, dict):
        raise InvalidArgumentError(f"a rule must be an object, not {rule!r}")
    values = {name: value for name, value in rule.items() if name != "struck"}
    unknown = sorted(values.keys() - set(Rule.__slots__))
    if unknown:
        raise InvalidArgumentError(f"a rule has no field {unknown[0]!r}; fields: {', '.join(Rule.__slots__)}")
    if values.get("action") not in get_args(Action):
        raise InvalidArgumentError(
            f"action is {values.get('action')!r}: it must be one of {', '.join(get_args(Action))}"
        )
    for name in ("verbs", "resources", "namespaces", "paths"):
        given = values.get(name, [])
        if not isinstance(given, list) or not all(isinstance(v, str) for v in given):
            raise InvalidArgumentError(f"{name} must be a list of strings, not {given!r}")
        values[name] = tuple(given)
    for name, kinds in (("seconds", (int, float)), ("probability", (int, float)), ("code", (int,)),
                        ("count", (int,)), ("retry_after", (int,)), ("size", (int,))):  # fmt: skip
        given = values.get(name, 0)
        if isinstance(given, bool) or not isinstance(given, kinds) or given < 0:
            raise InvalidArgumentError(f"{name} must be a number, 0 or more, not {given!r}")
    for name in ("media_type", "body"):
        if not isinstance(values.get(name, ""), str):
            raise InvalidArgumentError(f"{name} must be a string, not {values[name]!r}")
    return Rule(**values)


class Faults:
    """The faults in force in one cluster."""

    def __init__(self, engine: KubeEngine, *, rng: random.Random | None = None) -> None:
        self._engine = engine
        self._rng = rng or random.Random()  # noqa: S311 - which requests fail, not a secret
        self._rules: list[Rule] = []
        self._watches: dict[int, tuple[web.Request, FaultTarget]] = {}

    @property
    def rules(self) -> Sequence[Rule]:
        """Return the rules in force."""
        return tuple(self._rules)

    def set(self, rules: Sequence[Rule]) -> None:
        """Replace all rules; open watches that a new `drop` rule concerns are cut."""
        self._rules = list(rules)
        for request, target in tuple(self._watches.values()):
            if any(r.action == "drop" and r.concerns(target) for r in rules):
                _cut(request)

    def routes(self) -> list[Route]:
        """Return the routes of the admin endpoint; the server authorizes them."""
        return [
            ("GET", PATH, self._show), ("PUT", PATH, self._replace), ("POST", PATH, self._replace),
            ("DELETE", PATH, self._clear),
        ]  # fmt: skip

    async def _show(self, request: web.Request) -> web.StreamResponse:
        body = orjson.dumps({"rules": [rule.to_json() for rule in self._rules]})
        return web.Response(body=body, content_type="application/json")

    async def _replace(self, request: web.Request) -> web.StreamResponse:
        try:
            document = orjson.loads(await request.read())
        except orjson.JSONDecodeError as error:
            raise InvalidArgumentError(f"the body is not JSON: {error}") from error
        self.set(parse_rules(document))
        return await self._show(request)

    async def _clear(self, request: web.Request) -> web.StreamResponse:
        self.set([])
        return await self._show(request)

    def middleware(self) -> Middleware:
        """Return the aiohttp middleware that makes requests fail."""

        @web.middleware
        async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path == PATH:
                return await handler(request)
            target, path = target_of(request)
            for rule in tuple(self._rules):
                if rule.spent or not rule.concerns(target) or self._rng.random() >= rule.probability:
                    continue
                rule.struck += 1
                answer = await self._act(rule, request, path)
                if answer is not None:
                    return answer
            if target.verb != "watch":
                return await handler(request)
            self._watches[id(request)] = (request, target)
            try:
                return await handler(request)
            finally:
                self._watches.pop(id(request), None)

        return cast(Middleware, strike)

    async def _act(
        self, rule: Rule, request: web.Request, path: ResourcePath | None
    ) -> web.StreamResponse | None:
        """Do what a rule says; return the answer, None to go on."""
        match rule.action:
            case "delay":
                await asyncio.sleep(rule.seconds)
                return None
            case "status":
                return _status(rule)
            case "hang":
                await asyncio.Event().wait()  # until the client goes: the handler is cancelled then
                return None
            case "empty":
                return self._empty(path) if path else None
            case "say":
                return web.Response(status=rule.code, text=rule.body, content_type=rule.media_type)
            case "huge":
                return await excess.huge(request)
            case "bomb":
                return excess.bomb()
            case "catalogue":
                return excess.catalogue(rule.size)
            case "endless" | "flood":
                return await self._too_many(rule, request, path) if path else None
            case "drop":
                _cut(request)
                return web.Response(status=500)

    async def _too_many(
        self, rule: Rule, request: web.Request, path: ResourcePath
    ) -> web.StreamResponse | None:
        info = self._engine.catalogue.get(path.group, path.version, path.resource)
        if info is None:
            return None
        if rule.action == "flood":
            return await excess.flood(request, info, path.namespace)
        return excess.endless(info, path.namespace, request.query.get("continue", ""))

    def _empty(self, path: ResourcePath) -> web.StreamResponse | None:
        info = self._engine.catalogue.get(path.group, path.version, path.resource)
        if info is None:
            return None
        document = {
            "kind": info.list_kind or f"{info.kind}List",
            "apiVersion": info.api_version,
            "metadata": {"resourceVersion": str(self._engine.cache.revision)},
            "items": [],
        }
        return web.Response(body=orjson.dumps(document), content_type="application/json")


def target_of(request: web.Request) -> tuple[FaultTarget, ResourcePath | None]:
    """Return what a request is about, and its path if that names a resource."""
    path = parse_path(request.path)
    if path is None:
        return FaultTarget(request.path), None
    watching = path.watch or request.query.get("watch", "") in ("1", "true", "True")
    verb = verb_of(request.method, path, watch=watching)
    return FaultTarget(request.path, verb, path.resource, path.namespace), path


def _status(rule: Rule) -> web.StreamResponse:
    reason = _REASONS.get(rule.code, "InternalError")
    phrase = HTTPStatus(rule.code).phrase if rule.code in HTTPStatus._value2member_map_ else "injected"
    document: dict[str, Any] = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
        "message": f"{phrase} (injected fault)", "code": rule.code,
    }  # fmt: skip
    headers: Mapping[str, str] = {}
    if rule.code in (429, 503):
        document["details"] = {"retryAfterSeconds": rule.retry_after}
        headers = {"Retry-After": str(rule.retry_after)}
    return web.Response(
        status=rule.code, headers=headers, body=orjson.dumps(document), content_type="application/json"
    )


def _cut(request: web.Request) -> None:
    transport = request.transport
    if transport is not None:
        transport.abort()


class FaultyServer(KubeServer):
    """An API server with faults in front of everything, authentication included."""

    def __init__(self, engine: KubeEngine, *, faults: Faults, **options: Any) -> None:
        """`options` are those of KubeServer."""
        super().__init__(engine, routes=faults.routes(), **options)
        self._faults = faults

    def app(self) -> web.Application:
        """Return the application, with the faults outermost."""
        app = super().app()
        app.middlewares.insert(0, self._faults.middleware())
        return app
