"""The credential of a login: fetched once for all who ask, and renewed before it ends."""

import asyncio
import math
import time

import structlog

from .provider import Credential, CredentialProvider, CredentialUnavailable

_RENEWED_AFTER = 0.75  # of the time that it is valid
_RETRY = 5.0  # seconds until a renewal that failed is tried again
_PATIENCE = 1.0  # seconds for a source to get the password that the database has already
_POLL = 0.05
_PAUSE = 0.5  # seconds between two fetches of what is missing or refused

log = structlog.get_logger()


class Credentials:
    """What one source gives, for as long as it is valid."""

    def __init__(self, provider: CredentialProvider) -> None:
        self._provider = provider
        self._held: Credential | None = None
        self._fetching: asyncio.Task[Credential] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure: str | None = None
        self._asked_at = -math.inf

    async def current(self) -> Credential:
        """The credential that is valid now; from the source only if there is no other way.

        Raises:
            CredentialUnavailable: there is none.
        """
        held = self._held if self._held and self._held.expires_at > time.time() else None
        changed = self._provider.changed()
        if held and not changed:
            return held
        try:
            if self._failure and self._has_just_asked() and not changed:
                raise CredentialUnavailable(self._failure)
            return await asyncio.shield(self._fetch())
        except CredentialUnavailable:
            if held is None:
                raise
            return held

    async def instead_of(self, refused: Credential) -> Credential:
        """The credential after one that PostgreSQL refused; the same, if no other comes soon.

        Raises:
            CredentialUnavailable: there is none any more.
        """
        deadline = time.monotonic() + _PATIENCE
        while (found := await self.current()) == refused and time.monotonic() < deadline:
            if self._has_just_asked():
                await asyncio.sleep(_POLL)
            else:
                await asyncio.shield(self._fetch())
        return found

    def close(self) -> None:
        """Renew nothing any more."""
        if self._timer:
            self._timer.cancel()
        if self._fetching:
            self._fetching.cancel()

    def _has_just_asked(self) -> bool:
        return time.monotonic() - self._asked_at < _PAUSE

    def _fetch(self) -> asyncio.Task[Credential]:
        """The one attempt that all wait for, whoever gives up meanwhile."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._renew())
            self._fetching.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._fetching

    async def _renew(self) -> Credential:
        try:
            self._held = await self._provider.fetch()
            self._failure = None
        except Exception as error:
            foreseen = isinstance(error, CredentialUnavailable)
            self._failure = str(error) if foreseen else type(error).__name__
            log.warning("credential_unavailable", reason=self._failure)
            if self._held and self._held.expires_at < math.inf:
                self._renew_in(_RETRY)
            raise CredentialUnavailable(self._failure) from None
        else:
            if (left := self._held.expires_at - time.time()) < math.inf:
                self._renew_in(max(left * _RENEWED_AFTER, _RETRY))
            return self._held
        finally:
            self._fetching = None
            self._asked_at = time.monotonic()

    def _renew_in(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._fetch)
