"""Who calls, as path operations see it."""

from dataclasses import dataclass
from typing import Literal

from fastapi import Request
from fastapi.openapi.models import OAuth2, OAuthFlowAuthorizationCode, OAuthFlows
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from .problems import InsufficientScope, InvalidToken, NotAuthenticated
from .settings import Role

ROLES: tuple[Role, ...] = ("writer", "reader")
"""Of several that a token gives, the first: a transaction runs as one."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller, by a verified access token."""

    issuer: str
    subject: str
    """Who it is, the issuer's prefix included: the same string is always the same person."""
    scopes: frozenset[str] | None
    """What the client may do for its user; None where no scopes limit it."""
    roles: frozenset[str]
    """The claim's values as they are."""
    tenant: str
    """Empty where there are no tenants."""
    role: Role | Literal["anonymous"]
    """What it becomes in PostgreSQL."""
    expires: int
    """When the token does, in seconds since the epoch."""


ANONYMOUS = Principal("", "", frozenset(), frozenset(), "", "anonymous", expires=2**40)
"""Whoever calls a path operation that asks for no token."""


class AccessToken(SecurityBase):
    """What needs the access token in the header ``Authorization`` (RFC 6750, section 2.1).

    By its class OpenAPI learns of the flow; ``documentation.py`` fills in the URLs, which only the
    provider knows.
    """

    def __init__(self) -> None:
        flow = OAuthFlowAuthorizationCode(authorizationUrl="", tokenUrl="", scopes={})
        self.model = OAuth2(flows=OAuthFlows(authorizationCode=flow))
        self.scheme_name = "access_token"

    async def principal(self, request: Request, required: SecurityScopes) -> Principal:
        """Whom the token speaks of; it is verified once in a request.

        Raises:
            InsufficientScope: it lacks one of ``Security(…, scopes=[…])``.
        """
        known: Principal | None = request.scope.get("principal")
        if known is None:
            known = await request.app.state.tokens.verify(_token(request))
            request.scope["principal"] = known
        if known.scopes is not None and not known.scopes.issuperset(required.scopes):
            raise InsufficientScope(required.scopes)
        return known


class _Caller(AccessToken):
    """The caller: ``Security(caller, scopes=[...])``."""

    async def __call__(self, request: Request, required: SecurityScopes) -> Principal:
        return await self.principal(request, required)


caller = _Caller()


async def anonymous() -> Principal:
    """Nobody in particular, whatever the request carries."""
    return ANONYMOUS


def _token(request: Request) -> str:
    headers = request.headers.getlist("Authorization")
    if len(headers) > 1:
        raise InvalidToken("There is more than one Authorization header")
    scheme, _, token = "".join(headers).partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated
    return token.strip(" ")
