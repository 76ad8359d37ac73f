"""How much a client may send."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .problems import ContentTooLarge, response

# A client that is still sending does not read, and a connection closed on unread data is reset:
# it would never see the 413. So the rest is read and thrown away, within these bounds.
_DRAIN_BYTES = 64 * 1024 * 1024
_DRAIN_SECONDS = 5
_HEAD_BYTES = 64 * 1024


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with an end to what stands before a body, and to what it may say after one.

    httptools would collect a header for as long as the client sends it. And uvicorn adds trailers
    to the headers, where they could say what a proxy has not looked at (RFC 9110, section 6.5.1).
    """

    _unparsed = 0

    def data_received(self, data: bytes) -> None:
        """Hang up on who sends more and more, and neither headers that end nor a body."""
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > _HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        """Begin the request with the headers that are there."""
        self._unparsed = 0
        super().on_headers_complete()
        self.scope["headers"] = self.headers.copy()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, of which the application counts the bytes."""
        self._unparsed = 0
        super().on_body(body)


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
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _drain(receive: Receive, message: Message) -> None:
    drained = 0
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while message.get("more_body") and drained < _DRAIN_BYTES:
                message = await receive()
                drained += len(message.get("body", b""))
    except TimeoutError:
        pass
