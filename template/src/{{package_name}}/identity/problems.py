"""Problems of identity, with the challenges of RFC 6750, section 3."""

from collections.abc import Sequence
from typing import ClassVar

from ..problems import Problem


class NotAuthenticated(Problem):
    """The request carries no access token."""

    status = 401
    title = "An access token is required"

    def __init__(self) -> None:
        super().__init__()
        _challenge(self)


class InvalidToken(Problem):
    """The access token is not one that this service accepts.

    Args:
        detail: what is wrong with it, in words of ours: never a part of the token.
    """

    status = 401
    title = "The access token is not valid"

    def __init__(self, detail: str = title) -> None:
        super().__init__(detail)
        _challenge(self, error="invalid_token", error_description=detail)


class InsufficientScope(Problem):
    """The access token lacks a scope.

    Args:
        scopes: all that the path operation requires.
    """

    status = 403
    title = "The access token lacks a scope"

    def __init__(self, scopes: Sequence[str]) -> None:
        scope = " ".join(scopes)
        super().__init__(f"Required: {scope}")
        _challenge(self, error="insufficient_scope", scope=scope)


class NoRole(Problem):
    """The access token is valid, but gives the caller no role in this service."""

    status = 403
    title = "The caller has no role in this service"


class IdentityProviderUnavailable(Problem):
    """The identity provider cannot be asked for its keys, so no token can be judged by them."""

    status = 503
    title = "The identity provider is not available"
    retry_after: ClassVar[int] = 5


def _challenge(problem: Problem, **attributes: str) -> None:
    """Tell the client in ``WWW-Authenticate`` what is asked of it."""
    listed = ", ".join(f'{name}="{value}"' for name, value in attributes.items())
    challenge = f"Bearer {listed}".rstrip()
    problem.headers = {**(problem.headers or {}), "WWW-Authenticate": challenge}


class AccessDenied(Problem):
    """The caller's role lacks a privilege, or a policy does not let it."""

    status = 403
    title = "The caller's role may not do this"


# What any path operation that asks for a token may answer.
GENERAL = (NotAuthenticated, NoRole, IdentityProviderUnavailable)
