"""Clients that ask again and again."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from tests.faults.service import Service

Ask = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    sent: float
    ended: float
    response: httpx.Response | None = None
    error: httpx.TransportError | None = None

    @property
    def outcome(self) -> str:
        """The status and the problem, or how the connection failed."""
        if self.response is None:
            return type(self.error).__name__
        if self.response.headers["Content-Type"] == "application/problem+json":
            return f"{self.response.status_code} {self.response.json()['type']}"
        return str(self.response.status_code)


def outcomes(answers: list[Answer]) -> Counter[str]:
    """How many requests ended how."""
    return Counter(answer.outcome for answer in answers)


async def ask_until_refused(service: Service, ask: Ask) -> list[Answer]:
    """Ask again and again, until nobody listens any more."""
    answers: list[Answer] = []
    async with service.client() as client:
        while not answers or not isinstance(answers[-1].error, httpx.ConnectError):
            answers.append(await _asked(client, ask))
    return answers


@asynccontextmanager
async def asking(service: Service, ask: Ask, clients: int) -> AsyncIterator[list[Answer]]:
    """Many clients at once, until the block ends."""
    answers: list[Answer] = []

    async def one() -> None:
        await asyncio.sleep(random.random())  # nobody marches in step
        async with service.client() as client:
            while True:
                answers.append(await _asked(client, ask))
                await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(one()) for _ in range(clients)]
    try:
        yield answers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _asked(client: httpx.AsyncClient, ask: Ask) -> Answer:
    sent = time.monotonic()
    try:
        response = await ask(client)
    except httpx.TransportError as error:
        return Answer(sent, time.monotonic(), error=error)
    return Answer(sent, time.monotonic(), response)
