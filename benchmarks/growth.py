# /// script
# requires-python = ">=3.11"
# dependencies = ["fastpg-new", "matplotlib>=3.10", "psutil>=7", "psycopg[binary]>=3.2"]
#
# [tool.uv.sources]
# fastpg-new = { path = "..", editable = true }
# ///
"""What becomes of a service with more rows, clients, workers and connections.

`uv run benchmarks/growth.py` takes five minutes, needs `wrk`, and renews the curves of
docs/performance.md.
"""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import document
from matplotlib import pyplot
from service import ROWS, Backdrop, Subject, fill, laboratory, load, requests, serving

ROUNDS = 5
ROWS_TO = [10**3, 10**4, 10**5, 10**6]
CLIENTS = [1, 4, 16, 64, 256]
POOLS = [2, 4, 8, 16, 40]
WORKERS = [1, 2]
READ, PAGE, CREATE = 0, 1, 2


class Point(NamedTuple):
    """What one setting gives; times in milliseconds."""

    per_second: float
    p50: float
    p99: float
    refused: float
    """Of all requests."""


def point(
    subject: Subject, backdrop: Backdrop, kind: int, clients: int, **environment: str
) -> Point:
    """Medians of some rounds."""
    changed = replace(subject, environment={**subject.environment, **environment})
    with serving(changed, backdrop) as running:
        request = requests(running.note)[kind]
        load(running, request, 1, clients)  # fills caches and the pool
        found = [load(running, request, 1, clients) for _ in range(ROUNDS)]
    return Point(
        statistics.median(f["requests"] / f["microseconds"] * 1e6 for f in found),
        statistics.median(f["p50"] for f in found) / 1000,
        statistics.median(f["p99"] for f in found) / 1000,
        statistics.median(f["refused"] / f["requests"] for f in found),
    )


def by_rows(subject: Subject, backdrop: Backdrop) -> Iterator[tuple[int, list[Point]]]:
    """Reads, pages and creations of one client, with more and more rows of its own."""
    stored = ROWS
    for rows in ROWS_TO:
        if rows > stored:
            fill(backdrop, subject.database, stored + 1, rows)
            stored = rows
        yield rows, [point(subject, backdrop, kind, 1) for kind in (READ, PAGE, CREATE)]


def main() -> None:
    """Measure, draw, and write."""
    with laboratory() as (backdrop, subjects, _):
        (service,) = (subject for subject in subjects if subject.name == "service")
        clients = {n: point(service, backdrop, READ, n) for n in CLIENTS}
        pools = {n: point(service, backdrop, READ, 64, POOL_SIZE=str(n)) for n in POOLS}
        workers = {
            n: point(service, backdrop, READ, 64, WORKERS=str(n), POOL_SIZE="8") for n in WORKERS
        }
        rows = dict(by_rows(service, backdrop))
    write(clients, pools, workers, rows)


def write(
    clients: dict[int, Point],
    pools: dict[int, Point],
    workers: dict[int, Point],
    rows: dict[int, list[Point]],
) -> None:
    """Renew curves and tables."""
    document.style()
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
    for axes, found, title in ((left, clients, "clients, pool of 8"), (middle, pools, "pool size")):
        axes.plot(list(found), [p.per_second for p in found.values()], "o-", label="reads/s")
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(found), [str(n) for n in found])
        axes.set_ylim(bottom=0)
        axes.set_xlabel(title)
    left.set_ylabel("reads per second")
    for kind, name in ((READ, "read"), (PAGE, "page of 50"), (CREATE, "create")):
        right.plot(list(rows), [points[kind].p50 for points in rows.values()], "o-", label=name)
    right.set_xscale("log")
    right.set_ylim(bottom=0)
    right.set_xlabel("rows")
    right.set_ylabel("p50, ms")
    right.legend(frameon=False)
    document.save(figure, "growth.svg")
    lines = ["| | reads per second | p50 ms | p99 ms | refused |", "|---|--:|--:|--:|--:|"]
    for name, found in (("clients", clients), ("pool of", pools), ("workers", workers)):
        for n, p in found.items():
            lines.append(
                f"| {name} {n} | {p.per_second:.0f} | {p.p50:.1f} | {p.p99:.1f} | {p.refused:.1%} |"
            )
    lines += ["", "| rows | read p50 ms | page p50 ms | create p50 ms |", "|--:|--:|--:|--:|"]
    for n, points in rows.items():
        lines.append(f"| {n} | " + " | ".join(f"{p.p50:.2f}" for p in points) + " |")
    table = "\n".join(lines) + "\n"
    print(table)
    document.renew("growth", table)


if __name__ == "__main__":
    main()
