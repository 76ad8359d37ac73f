"""Path operations that are called as soon as they are found.

FastAPI tries each path operation of a router, and to call the one it found tries them again: 9 % of
the instructions of a request that reads a row, where there are five. Here what was found is called,
and none is tried where all begin unlike the path. What does not match as an ``APIRoute`` does is
left to FastAPI, and so is everything if FastAPI does something else than it did.
"""

import hashlib
import inspect
from itertools import takewhile
from operator import attrgetter
from typing import Any, NamedTuple

from fastapi import APIRouter, routing  # noqa: TID251  (the one place that extends it)
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from .direct import IS_TRACED

# What stands between the question whether a path operation is the one, and its call. Whatever this
# comes to do in a later version, or with an agent around it, must not be missing here in silence: a
# dependency of `include_router`, say. `KNOWN` follows when somebody has compared the two.
_STEPS = (
    "APIRouter.matches", "APIRouter.handle", "APIRoute.matches", "APIRoute.handle",
    "_IncludedRouter.matches", "_IncludedRouter._match", "_IncludedRouter.handle",
    "_IncludedRouter._handle_selected", "_EffectiveRouteContext.matches",
)  # fmt: skip
KNOWN = "a43139f0b8c3df85665aabd334b43e504150b25cb726d0f34475fe522b3f7ad3"

_FOUND = f"{__name__}.found"
"""Where the scope says what was found, and for what."""


def fingerprint() -> str:
    """The SHA-256 of what FastAPI does between finding a path operation and calling it."""
    try:
        steps = attrgetter(*_STEPS)(routing)
        sources = [inspect.getsource(step.__code__) for step in steps]
    except (AttributeError, OSError):  # there is no such step, or no source
        return ""
    return hashlib.sha256("".join(sources).encode()).hexdigest()


# A tracer wants to hear of each step from FastAPI.
_IS_KNOWN = fingerprint() == KNOWN and not IS_TRACED


class FindingRouter(APIRouter):
    """An ``APIRouter`` that finds a path operation once."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._tables: dict[int, _Table] = {}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As FastAPI; remember which path operation it is."""
        included = _included(scope)
        if not _IS_KNOWN or included is None or included.original_router is not self:
            return super().matches(scope)
        table = self._table(included.effective_candidates())
        if not any(map(scope["path"].__contains__, table.beginnings)):
            return Match.NONE, {}
        for candidate in table.tried:
            match, found = candidate.matches(scope)
            if match is Match.FULL:
                found["route"] = candidate.original_route
                scope[_FOUND] = _asked(scope), candidate, found
                return match, found
        return super().matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As FastAPI; do not look for the path operation again."""
        asked, candidate, found = scope.pop(_FOUND, (None, None, {}))
        if asked != _asked(scope):
            await super().handle(scope, receive, send)
            return
        scope.update(found)
        scope["fastapi"]["effective_route_context"] = candidate
        await candidate.original_route.handle(scope, receive, send)

    def _table(self, candidates: list[Any]) -> "_Table":
        """What is known of them; FastAPI makes another list when one is added."""
        table = self._tables.get(id(candidates))
        if table is None:
            tried = [*takewhile(_is_plain, candidates)]
            beginnings = {each.path.partition("{")[0] for each in tried}
            if len(tried) < len(candidates):
                beginnings = {""}  # FastAPI knows where the others begin
            table = self._tables[id(candidates)] = _Table(candidates, tried, beginnings)
        return table


class _Table(NamedTuple):
    """What is known of what a router is included with."""

    candidates: list[Any]
    """All of them; kept, so that no other list gets this one's ``id``."""
    tried: list[Any]
    """Those before anything that FastAPI has to try."""
    beginnings: set[str]
    """A path that holds none of these is nobody's."""


def _included(scope: Scope) -> Any:
    """Which of the inclusions of a router is asked: there may be several of one."""
    return scope.get("fastapi", {}).get("included_router")


def _asked(scope: Scope) -> tuple[object, ...]:
    method = scope.get("method")  # which no WebSocket has
    return id(_included(scope)), method, scope["path"], scope.get("root_path")


def _is_plain(candidate: Any) -> bool:
    """It is a path operation, and of no class that finds out otherwise whether it is the one."""
    operation = getattr(candidate, "original_route", None)
    return getattr(type(operation), "matches", None) is APIRoute.matches
