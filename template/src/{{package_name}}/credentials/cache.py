"""The credential of a login: fetched once for all who ask, and renewed before it ends."""

import asyncio
import math
import time

import structlog

from .provider import Credential, CredentialProvider, CredentialUnavailable

_RENEWED_AFTER = 0.75  # of the time that it is valid
_RETRY = 5.0  # seconds until a renewal that failed is tried again
_PATIENCE = 1.0  # seconds for a file to get the password that the database has already
_POLL = 0.05

log = structlog.get_logger()


class Credentials:
    """What one source gives, for as long as it is valid."""

    def __init__(self, provider: CredentialProvider) -> None:
        self._provider = provider
        self._held: Credential | None = None
        self._fetching: asyncio.Task[Credential] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def current(self) -> Credential:
        """The credential that is valid now; from the source only if there is no other way.

        Raises:
            CredentialUnavailable: there is none.
        """
        held = self._held if self._held and self._held.expires_at > time.time() else None
        if held and not self._provider.changed():
            return held
        try:
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
        found = await self.current()
        if found == refused:
            found = await asyncio.shield(self._fetch())
        deadline = time.monotonic() + _PATIENCE
        while found == refused and time.monotonic() < deadline:
            await asyncio.sleep(_POLL)
            found = await self.current()
        return found

    def close(self) -> None:
        """Renew nothing any more."""
        if self._timer:
            self._timer.cancel()
        if self._fetching:
            self._fetching.cancel()

    def _fetch(self) -> asyncio.Task[Credential]:
        """The one attempt that all wait for, whoever gives up meanwhile."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._renew())
            self._fetching.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._fetching

    async def _renew(self) -> Credential:
        try:
            self._held = await self._provider.fetch()
        except Exception as error:
            foreseen = isinstance(error, CredentialUnavailable)
            reason = str(error) if foreseen else type(error).__name__
            log.warning("credential_unavailable", reason=reason)
            if self._held and self._held.expires_at < math.inf:
                self._renew_in(_RETRY)
            raise CredentialUnavailable(reason) from None
        else:
            if (left := self._held.expires_at - time.time()) < math.inf:
                self._renew_in(max(left * _RENEWED_AFTER, _RETRY))
            return self._held
        finally:
            self._fetching = None

    def _renew_in(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._fetch)
