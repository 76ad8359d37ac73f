"""What was measured, as tables and as a picture in docs/performance.md."""

import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib
import psutil
from matplotlib import pyplot

DOCS = Path(__file__).parent.parent / "docs"
LIMIT = "limit"
COLOURS = ["#8c95a4", "#c3c9d2", "#1f6feb", "#79b2f2", "#93c87a", "#e5c07b", "#f07f88"]


class Figures(NamedTuple):
    """Of one subject and one kind of request; times in microseconds."""

    subject: str
    kind: str
    per_second: float
    p50: float
    p99: float
    own_cpu: float
    database_cpu: float
    round_trips: float
    calls: float


def text(figures: Iterable[Figures], starts: Mapping[str, tuple[float, float, float]]) -> str:
    """The tables, in Markdown."""
    figures = list(figures)
    limits = {f.kind: f for f in figures if f.subject == LIMIT}
    parts = []
    for kind in dict.fromkeys(f.kind for f in figures):
        parts += [
            f"### {kind}\n",
            "| | per second | of the limit | p50 ms | p99 ms | CPU us | of the limit "
            "| PostgreSQL us | round trips | calls |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for f in figures:
            if f.kind == kind:
                limit = limits.get(kind, f)
                parts.append(
                    f"| {f.subject} | {f.per_second:.0f} | {f.per_second / limit.per_second:.2f} "
                    f"| {f.p50 / 1000:.1f} | {f.p99 / 1000:.1f} "
                    f"| {f.own_cpu:.0f} | {f.own_cpu / limit.own_cpu:.2f} "
                    f"| {f.database_cpu:.0f} | {f.round_trips:.1f} | {f.calls:.0f} |"
                )
        parts.append("")
    parts += [
        "### One process\n",
        "| | memory MB | start to first answer s | import s |",
        "|---|--:|--:|--:|",
    ]
    for name, (memory, start, imports) in starts.items():
        parts.append(f"| {name} | {memory:.0f} | {start:.2f} | {imports:.2f} |")
    return "\n".join(parts) + "\n"


def write(
    figures: Iterable[Figures],
    starts: Mapping[str, tuple[float, float, float]],
    rounds: int,
    seconds: int,
) -> None:
    """Renew the picture, and what stands between the marks of docs/performance.md."""
    figures = list(figures)
    draw(figures)
    renew(
        "tables",
        f"Medians of {rounds} rounds of {seconds} s for each cell, interleaved; {machine()}.\n\n"
        f"{text(figures, starts)}",
    )


def machine() -> str:
    """What it was measured on."""
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} shared cores ({names[0] if names else platform.machine()}), "
        f"{memory:.0f} GB, Linux {platform.release()}, Python {platform.python_version()}"
    )


def renew(name: str, content: str) -> None:
    """Replace what stands between two marks."""
    page = DOCS / "performance.md"
    marks = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    renewed = re.sub(marks, lambda m: f"{m[1]}{content}{m[2]}", page.read_text(), flags=re.DOTALL)
    page.write_text(renewed)


def draw(figures: list[Figures]) -> None:
    """Throughput, as a part of the limit's."""
    kinds = list(dict.fromkeys(f.kind for f in figures))
    subjects = list(dict.fromkeys(f.subject for f in figures))
    found = {(f.subject, f.kind): f.per_second for f in figures}
    style()
    figure, axes = pyplot.subplots(figsize=(9, 3.6), layout="constrained")
    width = 0.8 / len(subjects)
    for number, (subject, colour) in enumerate(zip(subjects, COLOURS, strict=True)):
        heights = [found[subject, kind] / found[LIMIT, kind] for kind in kinds]
        places = [place + number * width for place in range(len(kinds))]
        axes.bar(places, heights, width, label=subject, color=colour)
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(kinds))], kinds)
    axes.set_ylabel("requests per second, of the limit's")
    axes.legend(ncols=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1))
    save(figure, "performance.svg")


def style() -> None:
    """How all pictures look."""
    matplotlib.rcParams |= {
        "svg.hashsalt": "fastpg-new",
        "svg.fonttype": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }


def save(figure: "pyplot.Figure", name: str) -> None:
    """As a file of docs, the same for the same figures."""
    figure.savefig(DOCS / name, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
