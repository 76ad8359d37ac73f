"""A path operation is one unit of work: it has a deadline, may run again, and answers once.

Neither a dependency nor a route handler can run a path operation again, and neither sees a COMMIT
that fails; what stands around the route can and does.
"""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import NoMatchFound
from starlette.types import Message, Receive, Scope, Send

from .database.unit_of_work import RunAgain, UnitOfWork
from .direct import direct
from .finding import FindingRouter
from .problems import OutcomeUnknown, Problem, RequestIncomplete, TimedOut, response

# The deadline is spent as limits of the server. Who is still not done a second later is cancelled,
# which costs the connection.
_GRACE = 1

# Seconds between two attempts: at random below the first, twice as many each time, up to the other.
# Of 300 that collide on one row, 20 at a time, all succeed sooner than with pauses of an eighth.
_PAUSE = 0.04
_LONGEST_PAUSE = 1

# A server refuses to send these in the value of a header (RFC 9110, section 5.5), after COMMIT.
_UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

log = structlog.get_logger()


class PathOperation(APIRoute):
    """A route whose path operation is a unit of work."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run it, again if need be, and answer for it if it takes too long."""
        settings = scope["app"].state.settings
        route = f"{scope['method']} {self.path_format}"
        unit = scope["unit_of_work"] = UnitOfWork(
            name=f"{scope['request_id'][:16]} {route}",
            deadline=time.monotonic() + settings.request_timeout,
            attempts=settings.max_attempts,
        )
        scope["logged"]["route"] = route
        body = _Body(receive, unit.received)
        started = False

        async def observed(message: Message) -> None:
            nonlocal started
            if unit.stored and message.get("status", 0) >= 400:
                raise RuntimeError("the answer is a failure, and the work is stored")
            if not started and not limit.expired():
                limit.reschedule(None)  # a long answer is no late one
            started = True
            await send(message)

        call = super().handle
        try:
            async with asyncio.timeout(settings.request_timeout + _GRACE) as limit:
                await _until_done(unit, body, lambda: call(scope, body, observed))
        except TimeoutError:
            if started or not limit.expired():
                raise
            log.error("request_cancelled")
            problem = _verdict(unit, body)
            await response(problem, scope)(scope, receive, send)
        except Exception:  # of a file that is not there, say: it is looked for after COMMIT
            if started or not unit.stored:
                raise
            log.exception("failed_after_commit")
            await response(OutcomeUnknown(), scope)(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler; its answer decides, before the session ends, what becomes of it."""
        handler = direct(super().get_route_handler())

        async def handle(request: Request) -> Response:
            unit: UnitOfWork = request.scope["unit_of_work"]
            if "Idempotency-Key" in request.headers:
                with suppress(ClientDisconnect):  # the handler meets it again
                    await request.body()  # the key stands for all of it, whoever reads it
            unit.answer = await handler(request)
            if any(_UNSENDABLE.search(value) for _, value in unit.answer.raw_headers):
                raise RuntimeError("a header of the answer holds a control character")
            return unit.answer

        return handle


def path_to(request: Request, name: str, **parameters: Any) -> str:
    """The path of a path operation as clients see it, ``ROOT_PATH`` included.

    ``request.url_for`` asks all path operations in turn, of which each other one raises an
    exception: 6 % of the instructions of a request that creates a row, where there are five.

    Raises:
        NoMatchFound: none of this name has these parameters.
    """
    root: str = request.scope["root_path"]
    state, asked = request.app.state, (name, *parameters)
    known = getattr(state, "paths_to", None)
    if known is None:
        known = state.paths_to = {}
    if asked not in known:
        known[asked] = _operation(request.app, name, parameters).url_path_for
    return root + str(known[asked](name, **parameters))


def _operation(app: FastAPI, name: str, parameters: Mapping[str, Any]) -> Any:
    for operation in iter_route_contexts(app.routes):
        if operation.name == name and operation.param_convertors.keys() == parameters.keys():
            return operation
    raise NoMatchFound(name, dict(parameters))


class Router(FindingRouter):
    """An ``APIRouter`` whose path operations are units of work."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=PathOperation, **options)


async def _until_done(
    unit: UnitOfWork, body: "_Body", attempt: Callable[[], Awaitable[None]]
) -> None:
    pause: float = _PAUSE
    while True:
        try:
            return await attempt()
        except RunAgain:
            log.info("runs_again", attempts_left=unit.attempts - 1)
        await asyncio.sleep(random.uniform(0, pause))  # noqa: S311  (nothing secret)
        pause = min(2 * pause, _LONGEST_PAUSE)
        unit.begin_again()
        body.rewind()


def _verdict(unit: UnitOfWork, body: "_Body") -> Problem:
    if unit.committing:
        return OutcomeUnknown()
    return TimedOut() if body.complete else RequestIncomplete()


class _Body:
    """What the client has sent, which each attempt reads from the beginning."""

    def __init__(self, receive: Receive, received: bytearray) -> None:
        self.complete = True
        """Nobody waits for more of it."""
        self._receive = receive
        self._received = received
        self._messages: list[Message] = []
        self._read = 0

    async def __call__(self) -> Message:
        if self._read == len(self._messages):
            self.complete = False
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._messages.append(message)
            self._received += message.get("body", b"")
            self.complete = not message.get("more_body", False)
        self._read += 1
        return self._messages[self._read - 1]

    def rewind(self) -> None:
        self._read = 0
