"""Every exception becomes a problem, here and nowhere else."""

import asyncio
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .database.sqlstate import facts, problem_of
from .problems import (
    DatabaseUnavailable,
    FieldError,
    InternalError,
    InvalidRequest,
    OutcomeUnknown,
    response,
)

# JSON that is not UTF-8, or nested too deep, or holds too long a number: FastAPI answers 400 to
# these, but 422 to JSON that has a comma too many. To a client it is the same mistake.
_UNREADABLE = (ValueError, RecursionError)

log = structlog.get_logger()


def install(app: FastAPI) -> None:
    """Answer every failure of the application with ``application/problem+json``."""
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(PoolTimeout, _no_connection)


class UnexpectedErrors:
    """ASGI middleware: whatever nobody handled is a 500 that keeps its reason to itself.

    Starlette's own handler for ``Exception`` stands outside of all middleware, where the answer
    would have neither request id nor CORS headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and answer for it when it fails before an answer began."""
        started = False

        async def observed(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, observed)
        except asyncio.CancelledError:  # the server stops, and has waited long enough
            if not started and scope["type"] == "http":
                await response(OutcomeUnknown(), scope)(scope, receive, send)
            raise
        except Exception:
            if started or scope["type"] != "http":
                raise
            log.exception("unexpected_error")
            await response(InternalError(), scope)(scope, receive, send)


async def _http_exception(request: Request, error: Exception) -> Response:
    exception = cast("HTTPException", error)
    if exception.status_code == 405:
        # Starlette names the methods of the first route that matches, not of all.
        exception.headers = {**(exception.headers or {}), "Allow": ", ".join(_allowed(request))}
    if exception.status_code == 400 and isinstance(exception.__cause__, _UNREADABLE):
        unreadable: FieldError = {"in": "body", "pointer": "", "detail": exception.detail}
        exception = InvalidRequest(errors=[unreadable])
    return response(exception, request.scope)


def _allowed(request: Request) -> list[str]:
    methods = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
    scopes = {method: {**request.scope, "method": method} for method in methods}
    routes = request.app.router.routes
    return [
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in routes)
    ]


async def _invalid_request(request: Request, error: Exception) -> Response:
    errors = cast("RequestValidationError", error).errors()
    return response(InvalidRequest(errors=[_field_error(e) for e in errors]), request.scope)


def _field_error(error: dict[str, Any]) -> FieldError:
    where, *path = error["loc"]
    if error["type"] == "json_invalid":
        path = []  # FastAPI puts a character's position there
    # RFC 6901, section 3: ~ and / are written ~0 and ~1.
    steps = [str(step).replace("~", "~0").replace("/", "~1") for step in path]
    pointer = "".join(f"/{step}" for step in steps)
    return {"in": where, "pointer": pointer, "detail": error["msg"]}


async def _database_error(request: Request, error: Exception) -> Response:
    database_error = cast("DBAPIError", error)
    problem = problem_of(database_error)
    if problem.status >= 500:
        log.error("database_error", exc_info=error)
    else:
        log.info("database_refusal", **facts(database_error))
    return response(problem, request.scope)


async def _no_connection(request: Request, error: Exception) -> Response:
    log.error("database_error", exc_info=error)
    return response(DatabaseUnavailable(), request.scope)
