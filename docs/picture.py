# /// script
# requires-python = ">=3.11"
# dependencies = ["fastpg-new", "pexpect>=4.9,<5", "pyte>=0.8.2,<0.9"]
#
# [tool.uv.sources]
# fastpg-new = { path = "..", editable = true }
# ///
"""Draws terminal.svg, the picture in the README: a real session at a pseudo-terminal.

`uv run docs/picture.py` takes two minutes. It shows the template as it is committed.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path

import pexpect
import pyte
from pyte.screens import Char

PICTURE = Path(__file__).with_name("terminal.svg")
TITLE = "fastpg-new"

COLUMNS = 97  # the long command is broken between two words
ROWS = 70  # more than the session fills: what scrolls away is not drawn
CLEAR, DOWN, ENTER = "\x15", "\x1b[B", "\r"
READY = "$\x1b[0;1m "

# What is written at the prompt is bold; PS0 ends that when the command begins.
SHELL = {"PS1": r"\[\e[1;32m\]$\[\e[0;1m\] ", "PS0": r"\e[0m", "TERM": "xterm-256color"}
WORDS = re.compile(r"\S+( \S+)*")
NETWORK = re.compile(r"SSL_|UV_|(HTTPS?|ALL|NO)_PROXY", re.IGNORECASE)

FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
CELL, LINE, MARGIN, BAR = 8.4, 20, 22, 38
BACKGROUND, BORDER, QUIET, TEXT = "#1c2028", "#3b424e", "#8c95a4", "#d6dbe4"
COLOURS = {
    "default": TEXT,
    "black": "#5c6573",
    "red": "#f07f88",
    "green": "#93c87a",
    "brown": "#e5c07b",
    "blue": "#79b2f2",
    "magenta": "#cf90e0",
    "cyan": "#62c3ce",
    "white": TEXT,
    "5f87af": "#79b2f2",  # the question mark of a prompt, too dark here
    "ffaf00": "#f2b45c",
}


class Session:
    """A shell in a home of its own, whose terminal remembers what it was sent."""

    def __init__(self, home: Path) -> None:
        self._screen = _Screen(COLUMNS, ROWS)
        self._work = home / "work"
        self._programs = home / "bin"
        self._work.mkdir()
        self._programs.mkdir()
        for name, program in _programs().items():
            (self._programs / name).symlink_to(program)
        (home / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n")
        (home / ".inputrc").write_text("set enable-bracketed-paste off\n")
        self._shell = self._screen.child = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile"],
            cwd=str(self._work),
            env=self._environment(home),
            dimensions=(ROWS, COLUMNS),
            encoding="utf-8",
            timeout=600,
        )
        self._shell.logfile_read = self._screen
        self._shell.expect_exact(READY)

    def ask(self, question: str, answer: str) -> None:
        """Wait for a prompt and answer it."""
        self._shell.expect_exact(question)
        self._shell.send(answer + ENTER)

    def start(self, command: str) -> None:
        """Begin a command that asks something."""
        self._shell.send(command + ENTER)

    def wait(self) -> None:
        """Wait for the end of a command."""
        self._shell.expect_exact(READY)

    def end(self) -> pyte.Screen:
        """Leave, and return what was there to be seen before."""
        text = self._screen.text
        self._shell.sendeof()
        self._shell.expect_exact(pexpect.EOF)
        self._shell.close()
        shown = pyte.Screen(COLUMNS, ROWS)
        pyte.Stream(shown).feed(
            text.replace(f"{self._work}/", "").replace(str(self._programs), "/usr/bin")
        )
        if shown.cursor.y == ROWS - 1:
            sys.exit("the session is longer than the screen: add ROWS")
        return shown

    def _environment(self, home: Path) -> dict[str, str]:
        cache = subprocess.check_output([os.environ["UV"], "cache", "dir"], text=True).strip()
        return {name: value for name, value in os.environ.items() if NETWORK.match(name)} | {
            "HOME": str(home),
            "INPUTRC": str(home / ".inputrc"),
            "LANG": "C.UTF-8",
            "PATH": f"{self._programs}:/usr/bin:/bin",
            "UV_CACHE_DIR": cache,
            **SHELL,
        }


class _Screen(pyte.Screen):
    """A terminal that is fed as if it were a log file; some programs ask it for its cursor."""

    child: "pexpect.spawn[str] | None" = None
    text = ""

    def write(self, text: str) -> None:
        self.text += text
        pyte.Stream(self).feed(text)

    def flush(self) -> None: ...

    def write_process_input(self, data: str) -> None:
        if self.child:
            self.child.send(data)


def _programs() -> dict[str, Path]:
    """All that stands before /usr/bin on PATH."""
    return {
        "fastpg-new": Path(sys.executable).with_name("fastpg-new"),
        "python3": Path(sys.base_prefix, "bin/python3").resolve(),
        "uv": Path(os.environ["UV"]),
    }


def play(home: Path) -> pyte.Screen:
    """The story."""
    session = Session(home)
    session.start("fastpg-new")
    session.ask("Name of the service", "bookshelf")
    session.ask("what the service does", f"{CLEAR}Lends books and remembers who has which one")
    session.ask("Author, ", "")
    session.ask("Continuous integration", DOWN)
    session.ask("access tokens", "")
    session.ask("proves to PostgreSQL", "")
    session.wait()
    for command in ("cd bookshelf", "uv run -q pytest -q"):  # uv would show where it builds
        session.start(command)
        session.wait()
    return session.end()


def draw(screen: pyte.Screen) -> str:
    """The screen as a window."""
    rows = screen.cursor.y + 1
    width, height = round(COLUMNS * CELL) + 2 * MARGIN, rows * LINE + BAR + 2 * MARGIN
    cursor = f'x="{_x(screen.cursor.x)}" y="{_y(screen.cursor.y) - 14}"'
    lights = (
        f'<circle cx="{MARGIN + 20 * place}" cy="{BAR / 2:g}" r="5.5" fill="{BORDER}"/>'
        for place in range(3)
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}" role="img" aria-label="{TITLE} at a terminal"'
            f' font-family="{FONT}" font-size="14" fill="{TEXT}">',
            f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="9"'
            f' fill="{BACKGROUND}" stroke="{BORDER}"/>',
            *lights,
            f'<path d="M1 {BAR}.5H{width - 1}" stroke="{BORDER}"/>',
            f'<text x="{width / 2:g}" y="24" text-anchor="middle" fill="{QUIET}">{TITLE}</text>',
            *(text for row in range(rows) for text in _texts(screen, row)),
            f'<rect {cursor} width="{CELL}" height="18" fill="{QUIET}"/>',
            "</svg>\n",
        ]
    )


def _texts(screen: pyte.Screen, row: int) -> Iterator[str]:
    """The parts of a row that look alike, without wide gaps, which a browser would close.

    The length of each is given because the width of the reader's font is not known.
    """
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    for style, group in groupby(enumerate(cells), lambda cell: _style(cell[1])):
        part = list(group)
        for found in WORDS.finditer("".join(cell.data for _, cell in part)):
            words, column = found.group(), part[0][0] + found.start()
            place = f'x="{_x(column)}" y="{_y(row)}" textLength="{len(words) * CELL:g}"'
            yield f"<text {place}{style}>{escape(words, quote=False)}</text>"


def _style(cell: Char) -> str:
    colour = COLOURS.get(cell.fg) or f"#{cell.fg}"
    fill = "" if colour == TEXT else f' fill="{colour}"'
    return fill + (' font-weight="bold"' if cell.bold else "")


def _x(column: int) -> str:
    return f"{MARGIN + column * CELL:g}"


def _y(row: int) -> int:
    return BAR + MARGIN + row * LINE + 14


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        PICTURE.write_text(draw(play(Path(directory).resolve())))
    sys.stdout.write(f"{PICTURE}\n")
