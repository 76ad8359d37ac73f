"""Path operations that are called directly, by a plan that is made when they are declared.

FastAPI finds out at each request what a path operation wants to know, and where that is found: a
seventh of the processor's instructions of a request that reads one row. Here it is found out once.
What a plan does not know is left to FastAPI, before any argument is looked for. What it knows is
done with FastAPI's own fields and in FastAPI's order.
"""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import fields
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import partial
from importlib.util import find_spec
from types import NoneType, UnionType
from typing import Any, NamedTuple, NoReturn, get_args
from uuid import UUID

from fastapi import Request
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import serialize_response
from fastapi.security import SecurityScopes
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import BaseModel
from pydantic_core import ValidationError
from starlette.responses import Response

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

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

_INVALID = object()


class _Unplanned(Exception):
    """FastAPI knows what to do."""


def direct(handler: Handler) -> Handler:
    """FastAPI's handler of a path operation without the search, or as it is without a plan."""
    try:
        _require(inspect.isfunction(handler))
        plan = _Plan(inspect.getclosurevars(handler).nonlocals)
    except _Unplanned:
        return handler

    async def handle(request: Request) -> Response:
        if not plan.is_for(request):
            return await handler(request)
        if not plan.reads:
            return await plan.answer(request)
        try:
            await request.body()
        except Exception as error:
            return await handler(_unreadable(request, error))
        try:
            content = await request.json()
        except Exception:
            return await handler(request)
        return await plan.answer(request, content)

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
        _require(all(functions.count(each) == 1 for each in functions))  # or else they may share
        *dependencies, operation = self._calls
        _require(not any(call.content for call in dependencies))
        self.reads = operation.content is not None
        self._takes_query = any(call.takes_query for call in self._calls)

    def _add(self, dependant: Dependant) -> int:
        inner = [(each.name, self._add(each)) for each in dependant.dependencies]
        self._calls.append(_Call(dependant, inner))
        return len(self._calls) - 1

    def is_for(self, request: Request) -> bool:
        """What the request says can be told without FastAPI."""
        if self._app and self._app.dependency_overrides:
            return False
        if self.reads:
            content_type = request.headers.get("content-type", "")
            if content_type.partition(";")[0].strip() != "application/json":
                return False
        if self._takes_query:  # in which a key may be there twice
            query = request.query_params
            return len(query) == len(query.multi_items())
        return True

    async def answer(self, request: Request, content: Any = None) -> Response:
        """What the path operation returns, as the client gets it.

        Raises:
            RequestValidationError: the request is not valid.
        """
        said: Any = None
        errors: list[Any] = []
        results: list[Any] = []
        for call in self._calls:
            arguments, wrong = call.arguments(request, content)
            errors += wrong
            if wrong or any(results[index] is _INVALID for _, index in call.dependencies):
                results.append(_INVALID)
                continue
            for name, index in call.dependencies:
                if name:
                    arguments[name] = results[index]
            if call.request:
                arguments[call.request] = request
            if call.response:
                said = arguments[call.response] = said or _unsaid()
            if call.scopes:
                arguments[call.scopes] = SecurityScopes(call.required.copy())
            results.append(await call.function(**arguments))
        if errors:
            raise RequestValidationError(errors, body=content)
        result = results[-1]
        if isinstance(result, Response):
            return result
        status = said.status_code if said and said.status_code else self._status
        answer = Response(
            await self._serialized(response_content=result), status, media_type="application/json"
        )
        if not is_body_allowed_for_status_code(status):
            answer.body = b""
        if said:
            answer.headers.raw.extend(said.headers.raw)
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
        self.dependencies = dependencies
        self.request = dependant.request_param_name
        self.response = dependant.response_param_name
        self.scopes = dependant.security_scopes_param_name
        self.required = list(dependant.parent_oauth_scopes or [])
        for scope in dependant.own_oauth_scopes or []:
            if scope not in self.required:
                self.required.append(scope)
        self.content: Any = next(iter(dependant.body_params), None)
        self._parameters = [
            *(_parameter(field, _path) for field in dependant.path_params),
            *_query_parameters(dependant.query_params),
            *(_parameter(field, _headers) for field in dependant.header_params),
        ]
        self.takes_query = not all(parameter.key for parameter in self._parameters)

    def arguments(self, request: Request, content: Any) -> tuple[dict[str, Any], list[Any]]:
        """What the request gives it, and what is wrong with that."""
        found, errors = {}, []
        for parameter in self._parameters:
            found[parameter.field.name], wrong = parameter.value(request)
            errors += wrong
        if self.content:
            found[self.content.name], wrong = self.content.validate(content, loc=("body",))
            errors += wrong
        return found, errors


class _Parameter(NamedTuple):
    """What a part of the request holds by this key, or all of the part."""

    field: Any
    part: Callable[[Request], Mapping[str, Any]]
    key: str
    location: tuple[str, ...]
    is_required: bool
    default: Any

    def value(self, request: Request) -> tuple[Any, list[Any]]:
        """The argument, and what is wrong with it."""
        part = self.part(request)
        found = part.get(self.key) if self.key else part
        if found is not None:
            value: tuple[Any, list[Any]] = self.field.validate(found, loc=self.location)
            return value
        return (None, _missing(self.location)) if self.is_required else (self.default, [])


def _missing(location: tuple[str, ...]) -> list[Any]:
    return ValidationError.from_exception_data(
        "missing", [{"type": "missing", "loc": location, "input": None}]
    ).errors(include_url=False)


def _parameter(field: Any, part: Callable[[Request], Mapping[str, Any]]) -> _Parameter:
    info, key = field.field_info, field.validation_alias or field.alias
    _require(_is_plain(info))
    return _Parameter(field, part, key, (info.in_.value, key), info.is_required(), info.default)


def _query_parameters(found: list[Any]) -> list[_Parameter]:
    model = found[0].field_info.annotation if len(found) == 1 else None
    if not (inspect.isclass(model) and issubclass(model, BaseModel)):
        return [_parameter(field, _query) for field in found]
    _require(not (model.model_config or found[0].field_info.metadata))
    for info in model.model_fields.values():
        _require(_is_plain(info) and not info.validation_alias)
    names = tuple(model.model_fields)

    def all_of_it(request: Request) -> Mapping[str, str]:
        query = request.query_params
        return {name: query[name] for name in names if name in query} | dict(query)

    location = (found[0].field_info.in_.value,)
    return [_Parameter(found[0], all_of_it, "", location, is_required=True, default=None)]


def _is_plain(info: Any) -> bool:
    """It is one value, by one name, and in its absence the default as it is."""
    is_union = isinstance(info.annotation, UnionType)
    types = get_args(info.annotation) if is_union else (info.annotation,)
    return (
        all(inspect.isclass(each) and issubclass(each, _PLAIN) for each in types)
        and isinstance(info.validation_alias, str | None)
        and not (info.default_factory or info.validate_default)
        and (info.is_required() or isinstance(info.default, _PLAIN))
    )


def _path(request: Request) -> Mapping[str, Any]:
    return request.path_params


def _query(request: Request) -> Mapping[str, str]:
    return request.query_params


def _headers(request: Request) -> Mapping[str, str]:
    return request.headers


def _unreadable(request: Request, error: Exception) -> Request:
    """The request for who has not read it yet, and will find it no easier."""

    async def receive() -> NoReturn:
        raise error

    return Request(request.scope, receive)


def _unsaid() -> Any:
    """An answer of which nothing is said yet, for others to say something."""
    response: Any = Response()
    del response.headers["content-length"]
    response.status_code = None
    return response


def _require(what: object) -> None:
    if not what:
        raise _Unplanned
