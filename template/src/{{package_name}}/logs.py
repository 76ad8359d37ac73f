"""One log line per request, JSON in production and readable in development."""

import logging
import re
import sys
import time
import traceback
import uuid
from collections.abc import Iterator
from urllib.parse import quote

import asyncpg
import structlog
from fastapi.exceptions import ValidationException
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import EventDict, Processor, WrappedLogger

from .database.sqlstate import facts
from .settings import Settings

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNLOGGED = frozenset({"/livez", "/readyz"})

log = structlog.get_logger()


def configure(settings: Settings) -> None:
    """Send everything that is logged, by structlog or the standard library, to standard error."""
    structlog.configure(
        processors=[*_PROCESSORS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(settings))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def formatter(settings: Settings) -> logging.Formatter:
    """How a log record is written: a line of JSON, or something readable."""
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_PROCESSORS, _first_line],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


class RequestLog:
    """ASGI middleware: gives the request an id and logs its answer.

    An ``X-Request-ID`` of the caller is kept when it looks like one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Bind the request id to everything that is logged meanwhile."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope["request_id"] = request_id
        started = time.perf_counter()
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, observed)
            finally:
                if scope["path"] not in _UNLOGGED:
                    log.info(
                        "request",
                        method=scope["method"],
                        path=quote(scope["path"]),
                        status=status,
                        duration_ms=round((time.perf_counter() - started) * 1000, 1),
                    )


def _format_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    exc_info = event.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(error, BaseException):
        event["exception"] = "".join(_chain(error))
    return event


def _chain(error: BaseException) -> Iterator[str]:
    """A traceback in which database errors do not speak.

    Their messages quote rows and parameters: ``Key (email)=(…) already exists``.
    """
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None and not isinstance(error, StatementError):
        yield from _chain(earlier)
        yield "\nwhich led to:\n\n"
    yield from traceback.format_tb(error.__traceback__)
    yield from _last_line(error)


def _last_line(error: BaseException) -> list[str]:
    if isinstance(error, DBAPIError):
        return [f"{type(error).__name__} {facts(error)}\n"]
    if isinstance(error, _TALKATIVE) or hasattr(error, "sqlstate"):
        return [f"{type(error).__name__}\n"]
    return traceback.format_exception_only(error)


def _first_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Asyncio puts the representation of a failed task, exception included, on a second line."""
    event["event"] = str(event["event"]).partition("\n")[0]
    return event


# Their messages quote statements, parameters, or the data that did not fit.
_TALKATIVE = (SQLAlchemyError, asyncpg.InterfaceError, ValidationError, ValidationException)

_PROCESSORS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _format_exception,
]
