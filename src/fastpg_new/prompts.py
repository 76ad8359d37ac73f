"""Questions to a person at a terminal. Copier asks those of the template itself."""

import subprocess
import sys
from collections.abc import Mapping

import questionary

from fastpg_new.answers import NAME, Questions
from fastpg_new.git import environment

_UNASKED = {"repository": ""}  # few know it on the first day


def possible() -> bool:
    """Whether somebody can see a question and answer it."""
    return all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout))


def ask_name(questions: Questions) -> str:
    """The name, when the command line has none."""

    def check(name: str) -> bool | str:
        return questions.problem(NAME, name) or True

    try:
        name: str = questionary.text("Name of the service", validate=check).unsafe_ask()
    except EOFError as error:
        raise KeyboardInterrupt from error
    return name


def prefilled(questions: Questions) -> Mapping[str, str]:
    """Defaults that git knows, as far as they are answers."""
    name, address = _configured("user.name"), _configured("user.email")
    if "author" in questions:
        for author in (f"{name} <{address}>".strip(), name):
            if author and not questions.problem("author", author):
                return {"author": author}
    return {}


def unasked(questions: Questions) -> Mapping[str, str]:
    """Answers that nobody is asked for, but which --data may give: five questions are enough."""
    return {key: answer for key, answer in _UNASKED.items() if key in questions}


def _configured(key: str) -> str:
    found = subprocess.run(
        ["git", "config", "--get", key], env=environment(), capture_output=True, check=False
    )
    return found.stdout.decode(errors="replace").strip()
