"""A way to take the database away: a TCP proxy before the server."""

import asyncio
import re
from contextlib import suppress
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

_ADDRESS = ("host", "port")
# The message that tells a client which process serves it, and the key to cancel its statements.
_BACKEND = re.compile(rb"(K\0\0\0\x0c)....(?=....Z\0\0\0\x05)", re.DOTALL)


class Proxy:
    """Forwards connections to PostgreSQL while it is up."""

    def __init__(self, url: str) -> None:
        self.target = urlsplit(url)
        self._query = dict(parse_qsl(self.target.query))
        self.port = 0
        self.loses_answer_to = b""
        """The connection breaks when the server has answered a message that holds these bytes."""
        self.withholds_answer_to = b""
        """The answer to a message that holds these bytes does not arrive, nor any later one."""
        self.hides_backends = False
        """Tells everybody a process id that no process has, as a pooler does."""
        self.silent = False
        """Nothing passes, though connections stay open."""
        self.round_trips = 0
        """How often somebody asked and then waited for an answer."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The same database, seen through the proxy."""
        login = self.target.netloc.rpartition("@")[0]
        query = {name: value for name, value in self._query.items() if name not in _ADDRESS}
        address = f"{login}@127.0.0.1:{self.port}"
        return self.target._replace(
            netloc=address, query=urlencode(query, quote_via=quote)
        ).geturl()

    async def up(self) -> None:
        """Accept connections, always on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse new connections and break the others."""
        if self._server:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # the other side takes notice

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await self._connect()
        writers = {writer, server_writer}
        self._writers |= writers
        lost, withheld = asyncio.Event(), asyncio.Event()
        answered = True

        async def forward() -> None:
            nonlocal answered
            while data := await reader.read(65536):
                self.round_trips += answered
                answered = False
                if self.loses_answer_to and self.loses_answer_to in data:
                    lost.set()
                if self.withholds_answer_to and self.withholds_answer_to in data:
                    withheld.set()
                if not self.silent:
                    server_writer.write(data)

        async def answer() -> None:
            nonlocal answered
            while (data := await server_reader.read(65536)) and not lost.is_set():
                answered = True
                if self.hides_backends:
                    data = _BACKEND.sub(rb"\1\0\0\0\0", data)
                if not withheld.is_set():
                    writer.write(data)

        pumps = [asyncio.create_task(forward()), asyncio.create_task(answer())]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for one in writers:
            one.transport.abort()
        with suppress(OSError):
            await asyncio.gather(*pumps)
        self._writers -= writers

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host = self._query.get("host") or self.target.hostname or "localhost"
        port = int(self._query.get("port") or self.target.port or 5432)
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)
