"""FastAPI with a pool of the driver's connections, for the subjects that have nothing else."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
from fastapi import Depends, FastAPI, Request


def application(connections: Callable[[], asyncpg.Pool]) -> FastAPI:
    """An application that is alive, and whose path operations can ask for its ``Pool``."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with connections() as app.state.pool:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    return app


async def _pool(request: Request) -> Any:
    return request.app.state.pool


Pool = Annotated[Any, Depends(_pool)]
