"""Path operations that are called directly, by a plan that is made when they are declared.

FastAPI finds out at each request what a path operation wants to know, and where that is found: a
seventh of the processor's instructions of a request that reads one row. Here it is found out once.
What a plan does not know, and each request that is not valid, is left to FastAPI before anything
has been done. So this module does less than FastAPI, and nothing else.
"""

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import fields
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import partial
from importlib.util import find_spec
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args
from uuid import UUID

from fastapi import Request
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.routing import serialize_response
from fastapi.security import SecurityScopes
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Arguments = dict[str, Any]

IS_TRACED = find_spec("opentelemetry.sdk") is not None
"""FastAPI tells OpenTelemetry of each of its steps, and we take fewer."""

# What a plan knows of a handler and of a dependency. If anything else is set, there is no plan.
_OF_ANSWER = {
    "response_field": "field",
    "response_model_include": "include",
    "response_model_exclude": "exclude",
    "response_model_by_alias": "by_alias",
    "response_model_exclude_unset": "exclude_unset",
    "response_model_exclude_defaults": "exclude_defaults",
    "response_model_exclude_none": "exclude_none",
}
_OF_HANDLER = frozenset({
    *_OF_ANSWER, "actual_response_class", "actual_strict_content_type", "body_field", "dependant",
    "dependency_overrides_provider", "is_coroutine", "response_class", "status_code",
})  # fmt: skip
_OF_DEPENDANT = frozenset({
    "body_params", "call", "dependencies", "header_params", "name", "own_oauth_scopes",
    "parent_oauth_scopes", "path", "path_params", "query_params", "request_param_name",
    "response_param_name", "scope", "security_scopes_param_name", "use_cache",
})  # fmt: skip

_PLAIN = (bool, int, float, Decimal, str, Enum, UUID, date, datetime, time, NoneType)


class _Unplanned(Exception):
    """FastAPI knows what to do."""


def direct(handler: Handler) -> Handler:
    """FastAPI's handler of a path operation without the search, or as it is without a plan."""
    try:
        plan = _Plan(inspect.getclosurevars(handler).nonlocals)
    except _Unplanned:
        return handler

    async def handle(request: Request) -> Response:
        try:
            arguments = await plan.arguments(request)
        except HTTPException:
            raise  # of who reads the body, which cannot be read again
        except Exception:
            return await handler(request)  # which says what is wrong
        return await plan.answer(request, arguments)

    return handle


class _Plan:
    """In which order dependencies and the path operation are called, and what they are given.

    Args:
        known: what FastAPI's handler knows of the path operation.
    """

    def __init__(self, known: Mapping[str, Any]) -> None:
        _require(not IS_TRACED and known.keys() >= _OF_HANDLER)
        _require(not any(known[name] for name in known.keys() - _OF_HANDLER))
        _require(isinstance(known["response_class"], DefaultPlaceholder))
        _require(known["response_field"])
        self._app = known["dependency_overrides_provider"]
        self._status = known["status_code"] or 200
        options = {option: known[name] for name, option in _OF_ANSWER.items()}
        self._serialized = partial(serialize_response, **options, dump_json=True)
        self._calls: list[_Call] = []
        self._add(known["dependant"])
        functions = [call.function for call in self._calls]
        _require(len(functions) == len(set(functions)))  # FastAPI knows which share a result
        *dependencies, operation = self._calls
        _require(not any(call.body for call in dependencies))
        self._body = operation.body

    def _add(self, dependant: Dependant) -> int:
        inner = [(each.name, self._add(each)) for each in dependant.dependencies]
        self._calls.append(_Call(dependant, inner))
        return len(self._calls) - 1

    async def arguments(self, request: Request) -> list[Arguments]:
        """What of the request each call is given. Nothing is called yet.

        Raises:
            Exception: something is not valid, or only FastAPI knows whether it is.
        """
        _require(not (self._app and self._app.dependency_overrides))
        found = [{p.name: p.value(request) for p in call.parameters} for call in self._calls]
        if self._body:
            _require(request.headers.get("content-type") == "application/json")
            found[-1][self._body.name] = _valid(self._body, await request.json())
        return found

    async def answer(self, request: Request, found: list[Arguments]) -> Response:
        """What the path operation returns, as the client gets it."""
        said: Response | None = None
        result: Any = None
        results: list[Any] = []
        for call, arguments in zip(self._calls, found, strict=True):
            for name, index in call.dependencies:
                arguments[name] = results[index]
            if call.request:
                arguments[call.request] = request
            if call.response:
                said = arguments[call.response] = said or _unsaid()
            if call.scopes:
                arguments[call.scopes] = SecurityScopes(call.required)
            result = await call.function(**arguments)
            results.append(result)
        if isinstance(result, Response):
            return result
        status = said.status_code if said and said.status_code else self._status
        content = await self._serialized(response_content=result)
        answer = Response(content, status, media_type="application/json")
        if not is_body_allowed_for_status_code(status):
            answer.body = b""
        if said:
            answer.raw_headers += said.raw_headers
        return answer


class _Call:
    """A function, and where what it is given comes from.

    Args:
        dependant: what FastAPI knows of it.
        dependencies: by which name it is given which call's result, if it is given at all.
    """

    def __init__(self, dependant: Dependant, dependencies: list[tuple[str | None, int]]) -> None:
        unknown = (each.name for each in fields(dependant) if each.name not in _OF_DEPENDANT)
        _require(not any(getattr(dependant, name) for name in unknown))
        self.function: Any = dependant.call
        is_routine = inspect.isroutine(self.function)
        code = self.function if is_routine else type(self.function).__call__
        _require(inspect.iscoroutinefunction(code))
        self.dependencies = [(name, index) for name, index in dependencies if name]
        self.request = dependant.request_param_name
        self.response = dependant.response_param_name
        self.scopes = dependant.security_scopes_param_name
        scopes = [*(dependant.parent_oauth_scopes or []), *(dependant.own_oauth_scopes or [])]
        self.required = list(dict.fromkeys(scopes))
        self.body = next(iter(dependant.body_params), None)
        self.parameters = [
            *(_parameter(field, _path) for field in dependant.path_params),
            *(_parameter(field, _headers) for field in dependant.header_params),
            *_query_parameters(dependant.query_params),
        ]


class _Parameter(NamedTuple):
    """An argument: what a part of the request holds by this key, or all of the part."""

    name: str
    part: Callable[[Request], Mapping[str, Any]]
    key: str
    field: Any

    def value(self, request: Request) -> Any:
        """The argument, valid."""
        part = self.part(request)
        found = part.get(self.key) if self.key else part
        if found is None:
            _require(not self.field.field_info.is_required())
            return self.field.default
        return _valid(self.field, found)


def _parameter(field: Any, part: Callable[[Request], Mapping[str, Any]]) -> _Parameter:
    _require(_is_plain(field.field_info))
    return _Parameter(field.name, part, field.validation_alias or field.alias, field)


def _query_parameters(found: list[Any]) -> Iterable[_Parameter]:
    model = found[0].field_info.annotation if len(found) == 1 else None
    if not (inspect.isclass(model) and issubclass(model, BaseModel)):
        return [_parameter(field, _query) for field in found]
    _require(not model.model_config)
    for field in model.model_fields.values():
        _require(_is_plain(field) and not field.validation_alias)
    return [_Parameter(found[0].name, _query, "", found[0])]


def _is_plain(info: Any) -> bool:
    """It is one value, by one name, and in its absence the default as it is."""
    is_union = isinstance(info.annotation, UnionType)
    types = get_args(info.annotation) if is_union else (info.annotation,)
    return (
        all(inspect.isclass(each) and issubclass(each, _PLAIN) for each in types)
        and isinstance(info.validation_alias, str | None)
        and not info.validate_default
    )


def _path(request: Request) -> Mapping[str, Any]:
    return request.path_params


def _headers(request: Request) -> Mapping[str, str]:
    return request.headers


def _query(request: Request) -> Mapping[str, str]:
    items = request.query_params.multi_items()
    query = dict(items)
    _require(len(query) == len(items))  # FastAPI knows what it means to say something twice
    return query


def _valid(field: Any, found: Any) -> Any:
    value, errors = field.validate(found)
    _require(not errors)
    return value


def _unsaid() -> Response:
    """An answer of which nothing is said yet, for others to say something."""
    response = Response()
    del response.headers["content-length"]
    response.status_code = None  # type: ignore[assignment]  # as FastAPI has it
    return response


def _require(what: object) -> None:
    if not what:
        raise _Unplanned
