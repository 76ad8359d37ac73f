"""Problem details for HTTP APIs (RFC 9457): what a failure looks like to a client.

A failure that a client may see is a class: the general ones here, those of a domain in its own
``problems.py``. Raise it where it happens; ``exception_handlers.py`` turns it into the answer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, TypedDict
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import Response

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
    repeat: ClassVar[str] = "No, it would fail again."
    """Whether the client may send the same request again, where ``retry_after`` does not say so."""

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

    repeat = "No, somebody has to mend the service first."
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
    """A value that must be unique is taken."""

    title = "A record with this value already exists"


class ReferenceConflict(Conflict):
    """A record that is referred to is missing, or one that would go is still referred to."""

    title = "A referenced record is missing or still in use"


class MissingReference(ReferenceConflict):
    """The request refers to a record that does not exist."""

    title = "A referenced record does not exist"


class StillReferenced(ReferenceConflict):
    """The record cannot go, or change its key, because others refer to it."""

    title = "The record is still in use by others"


class Overlap(Conflict):
    """The record and one that is stored exclude each other."""

    title = "The record overlaps with one that is stored"


class RequestIncomplete(Problem):
    """The client has not sent its whole request in time; nothing was stored."""

    repeat = "Yes."
    status = 408
    title = "The request did not arrive in time"


class ContentTooLarge(Problem):
    """The request body is larger than the service accepts."""

    status = 413
    title = "The request body is too large"


class TooComplex(Problem):
    """The request is more than PostgreSQL takes in one statement; nothing was stored."""

    status = 413
    title = "The request is too much at once"


class InvalidRequest(Problem):
    """The request does not fit its schema."""

    status = 422
    title = "The request is not valid"


class InvalidValue(Problem):
    """PostgreSQL refuses a value."""

    status = 422
    title = "A value is missing or not valid"


class RuleViolated(Problem):
    """A rule that the database enforces refuses the request."""

    status = 422
    title = "A rule of the database does not allow this"


class ForeignServerFailed(Problem):
    """A server on which PostgreSQL depends for this request has failed; nothing was stored here."""

    status = 502
    title = "Another server has failed the database"


class DatabaseUnavailable(Problem):
    """PostgreSQL cannot be reached, or has no connection to spare; nothing was stored."""

    status = 503
    title = "The database is not available"
    retry_after = 1


class TransactionConflict(Problem):
    """The service has tried several times, and others were in the way; nothing was stored."""

    status = 503
    title = "The request collided with another one"
    retry_after = 1


class Locked(Problem):
    """Somebody else holds a lock for longer than this request waits for it; nothing was stored."""

    status = 503
    title = "What the request needs is locked"
    retry_after = 1


class OutcomeUnknown(Problem):
    """The connection broke in COMMIT, or the answer failed after it; the work may be stored."""

    repeat = "Only with the Idempotency-Key that it had; without one, look first what is stored."
    status = 503
    title = "The outcome of the request is unknown"


class TimedOut(Problem):
    """A time limit was reached; nothing was stored."""

    repeat = "Yes, though it may take too long again."
    status = 504
    title = "The request took too long"


class StorageFull(Problem):
    """PostgreSQL has no disk space left; nothing was stored."""

    repeat = "No, somebody has to make room first."
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
