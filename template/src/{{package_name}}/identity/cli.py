"""The command that gets an access token."""

import asyncio
import logging
import sys
from typing import Annotated

import typer

from .. import logs
from ..settings import load
from .client import TokenRefused, access_token


def token(
    scope: Annotated[list[str] | None, typer.Argument(help="What it shall allow")] = None,
) -> None:
    """Print an access token of OIDC_CLIENT_ID, for curl."""
    settings = load()
    # To standard error, since standard output is the token's alone; and only what went wrong.
    logs.configure(settings, level=logging.WARNING)
    if not (settings.oidc_client_id and settings.oidc_client_secret):
        sys.exit(
            "error: OIDC_CLIENT_ID and OIDC_CLIENT_SECRET are not set\n"
            "hint: register a client for client credentials; `poe dev` brings one along"
        )
    try:
        typer.echo(asyncio.run(access_token(settings, scope or ())))
    except TokenRefused as refused:
        sys.exit(f"error: no access token: {refused}")
