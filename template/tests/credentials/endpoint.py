"""An HTTP server of our own, which does what a test says and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Asked(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: Message
    form: dict[str, str]


class Answer(NamedTuple):
    body: bytes | Mapping[str, Any] = b""
    status: int = 200
    headers: Mapping[str, str] = {}
    silent: bool = False
    dripping: bool = False
    """More is announced, and comes so slowly that no end is in sight."""


Behaviour = Callable[[Asked], Answer]


class Endpoint:
    """What to ask, and what was asked."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.asked: list[Asked] = []
        self.place = ""
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://{self.place}"


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Endpoint]:
    """A server on a free port of the loopback address."""
    endpoint = Endpoint(behaviour)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(endpoint))
    endpoint.place = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            form = dict(parse_qsl(self.rfile.read(length).decode()))
            query = dict(parse_qsl(parts.query))
            asked = Asked(self.command, parts.path, query, self.headers, form)
            endpoint.asked.append(asked)
            with suppress(ConnectionError):  # who has had enough hangs up
                self._answer(endpoint.behaviour(asked))

        do_PUT = do_POST = do_GET  # noqa: N815  (http.server looks for these names)

        def _answer(self, answer: Answer) -> None:
            if answer.silent:
                endpoint.ended.wait()
                return
            body = answer.body if isinstance(answer.body, bytes) else _json(answer.body)
            self.send_response(answer.status)
            length = 10_000_000 if answer.dripping else len(body)
            self.send_header("Content-Length", str(length))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            while answer.dripping and not endpoint.ended.wait(0.02):
                self.wfile.write(b" ")

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()
