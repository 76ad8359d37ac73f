"""How much a client may send."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import ContentTooLarge, response

# A client that is still sending does not read, and a connection closed on unread data is reset:
# it would never see the 413. So the rest is read and thrown away, within these bounds.
_DRAIN_BYTES = 64 * 1024 * 1024
_DRAIN_SECONDS = 5


class BodyLimit:
    """ASGI middleware: 413 for a request body of more than ``limit`` bytes.

    Starlette's own middleware leaves the rest of the body unread and answers in plain text when
    the application has answered without reading it.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on unless it announces too much; count what arrives."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                await _drain(receive, message)
                raise ContentTooLarge(self._detail)
            return message

        if _announced(scope) > self.limit:
            await _drain(receive, {"more_body": True})
            await response(ContentTooLarge(self._detail), scope)(scope, receive, send)
        else:
            await self.app(scope, counted, send)

    @property
    def _detail(self) -> str:
        return f"At most {self.limit} bytes are accepted."


def _announced(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isdecimal() else 0


async def _drain(receive: Receive, message: Message) -> None:
    drained = 0
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while message.get("more_body") and drained < _DRAIN_BYTES:
                message = await receive()
                drained += len(message.get("body", b""))
    except TimeoutError:
        pass
