"""Problem details for HTTP APIs (RFC 9457): what a failure looks like to a client.

A failure that a client may see is a class: the general ones here, those of a domain in its own
``problems.py``. Raise it where it happens; ``exception_handlers.py`` turns it into the answer.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, TypedDict
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

MEDIA_TYPE = "application/problem+json"

# The functional form, because `in` is a keyword.
FieldError = TypedDict("FieldError", {"in": str, "pointer": str, "detail": str})
"""Where in the request the trouble is: ``in`` body, query, path, header or cookie, and there at
``pointer`` (a JSON Pointer, RFC 6901)."""


class Problem(HTTPException):
    """A failure with an answer.

    Its ``type`` is made of the class name: ``NoteTitleTaken`` is ``/problems#note-title-taken``.
    An ``HTTPException``, so that FastAPI, Starlette and their middleware let it through.

    Args:
        detail: what is special about this occurrence, for a person. Never SQL, never a value out
            of somebody else's row.
        errors: the parts of the request that are at fault.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "The service failed"
    retry_after: ClassVar[int | None] = None
    """Seconds after which the same request may succeed."""

    def __init__(self, detail: str | None = None, *, errors: Sequence[FieldError] = ()) -> None:
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else None
        super().__init__(self.status, detail or self.title, headers)
        self.errors = list(errors)

    @classmethod
    def slug(cls) -> str:
        """The class name in the form that URIs use."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()


class InternalError(Problem):
    """A bug of ours; the log has the reason under the request id."""

    title = "The service failed"


class NotFound(Problem):
    """There is no such thing, or not for this caller."""

    status = 404
    title = "Not found"


class Conflict(Problem):
    """The request does not fit what is stored."""

    status = 409
    title = "The request conflicts with what is stored"


class AlreadyExists(Conflict):
    """A value that must be unique is taken (SQLSTATE 23505)."""

    title = "A record with this value already exists"


class ReferenceConflict(Conflict):
    """A record that is referred to is missing, or still referred to (SQLSTATE 23503, 23001)."""

    title = "A referenced record is missing or still in use"


class Overlap(Conflict):
    """An exclusion constraint does not allow both records (SQLSTATE 23P01)."""

    title = "The record overlaps with one that is stored"


class RequestIncomplete(Problem):
    """The client has not sent its whole request in time; nothing was stored."""

    status = 408
    title = "The request did not arrive in time"


class ContentTooLarge(Problem):
    """The request body is larger than the service accepts."""

    status = 413
    title = "The request body is too large"


class InvalidRequest(Problem):
    """The request does not fit its schema."""

    status = 422
    title = "The request is not valid"


class InvalidValue(Problem):
    """PostgreSQL refuses a value (SQLSTATE class 22, 23502, 23514)."""

    status = 422
    title = "A value is missing or not valid"


class DatabaseUnavailable(Problem):
    """PostgreSQL cannot be reached, or has no connection to spare; nothing was stored."""

    status = 503
    title = "The database is not available"
    retry_after = 1


class TransactionConflict(Problem):
    """Another transaction was in the way (SQLSTATE class 40, 55P03); nothing was stored."""

    status = 503
    title = "The request collided with another one"
    retry_after = 1


class OutcomeUnknown(Problem):
    """The connection broke during COMMIT: the work may be stored or not. Look before repeating."""

    status = 503
    title = "The outcome of the request is unknown"


class TimedOut(Problem):
    """A time limit was reached (SQLSTATE 57014); nothing was stored."""

    status = 504
    title = "The request took too long"


class StorageFull(Problem):
    """PostgreSQL has no disk space left (SQLSTATE 53100)."""

    status = 507
    title = "The database is full"


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class ProblemResponse(Response):
    """The answer to a request that failed."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """JSON in ASCII: a lone surrogate that a client sent has no UTF-8 form, but an escape."""
        return json.dumps(content).encode("ascii")


def response(error: HTTPException, scope: Mapping[str, Any]) -> Response:
    """The answer for a failed request; ``scope`` is the request's ASGI scope."""
    if error.status_code < 200 or error.status_code in (204, 304):  # these have no body
        return Response(status_code=error.status_code, headers=error.headers)
    phrase = _PHRASES.get(error.status_code, "Error")
    # RFC 9457, section 4.2.1: about:blank says no more than the status, and is titled like it.
    content: dict[str, Any] = {"type": "about:blank", "title": phrase, "status": error.status_code}
    if isinstance(error, Problem):
        content["type"] = f"{scope.get('root_path', '')}/problems#{error.slug()}"
        content["title"] = error.title
    if error.detail != content["title"]:
        content["detail"] = error.detail
    content["instance"] = quote(scope["path"])
    content["request_id"] = scope.get("request_id")
    if isinstance(error, Problem) and error.errors:
        content["errors"] = error.errors
    return ProblemResponse(content, error.status_code, headers=error.headers)


# What any path operation may answer.
GENERAL = (InvalidRequest, ContentTooLarge, InternalError, DatabaseUnavailable, TimedOut)

SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "Problem details (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["in", "pointer", "detail"],
                "properties": {
                    "in": {"enum": ["body", "query", "path", "header", "cookie"]},
                    "pointer": {"type": "string", "format": "json-pointer"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


def responses(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of these problems, for the ``responses`` of a path operation."""
    described: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        entry = described.setdefault(
            problem.status,
            {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}},
        )
        entry["description"] = " / ".join(filter(None, [entry.get("description"), problem.title]))
    return described


async def page(_: Request) -> HTMLResponse:
    """The page that the ``type`` of a problem points to."""
    entries = "".join(
        f'<dt id="{problem.slug()}">{problem.status} {html.escape(problem.title)}</dt>'
        f"<dd>{html.escape(_summary(problem))}</dd>"
        for problem in sorted(
            _all(Problem) - {Problem}, key=lambda problem: (problem.status, problem.slug())
        )
    )
    return HTMLResponse(f"<!doctype html><title>Problems</title><dl>{entries}</dl>")


def _summary(problem: type[Problem]) -> str:
    return (problem.__doc__ or "").partition("\n\n")[0]


def _all(problem: type[Problem]) -> set[type[Problem]]:
    return {problem}.union(*(_all(subclass) for subclass in problem.__subclasses__()))


routes = [Route("/problems", page)]
