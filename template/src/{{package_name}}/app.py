"""The application: the one place where everything is put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import metadata
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware

from . import exception_handlers, health, logs, problems
from .database.engine import Database
from .limits import BodyLimit
from .notes.router import router as notes
from .settings import Settings, load


def create_app(settings: Settings) -> FastAPI:
    """The service, wired for these settings."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.database = Database(settings)
        yield
        await app.state.database.close()

    about = metadata(__name__.partition(".")[0])
    # FastAPIOffline serves Swagger UI and ReDoc itself; FastAPI would load them from a CDN.
    app = FastAPIOffline(
        title=about["Name"],
        description=about["Summary"],
        version=about["Version"],
        lifespan=lifespan,
        routes=[*health.routes, *problems.routes],
        middleware=_middleware(settings),
        responses=problems.responses(*problems.GENERAL),
    )
    exception_handlers.install(app)
    _describe_problems(app)
    app.include_router(notes)
    return app


def from_environment() -> FastAPI:
    """The service, wired by the environment: what a server's worker process calls.

    Raises:
        SettingsError: a setting is missing or malformed.
    """
    settings = load()
    logs.configure(settings)
    return create_app(settings)


def _middleware(settings: Settings) -> list[Middleware]:
    """From the outside in."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["Location", "Retry-After", "X-Request-ID"],
    )
    return [
        Middleware(logs.RequestLog),
        *([cors] if settings.cors_origins else []),
        Middleware(exception_handlers.UnexpectedErrors),
        Middleware(BodyLimit, limit=settings.max_body_size),
    ]


def _describe_problems(app: FastAPI) -> None:
    """Add the schema of problems to the OpenAPI document; the responses refer to it."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", problems.SCHEMA)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it
