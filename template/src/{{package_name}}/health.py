"""Probes for whoever runs the service.

Plain Starlette routes, first in the application: they answer without FastAPI's machinery.
"""

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .problems import DatabaseUnavailable


async def livez(_: Request) -> JSONResponse:
    """The process is alive; nothing else is asked."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> JSONResponse:
    """The service can do its work: its database answers."""
    try:
        await request.app.state.database.ping()
    except SQLAlchemyError as error:
        raise DatabaseUnavailable from error
    return JSONResponse({"status": "ready"})


routes = [Route("/livez", livez), Route("/readyz", readyz)]
