"""What a name and an answer may be. The rules stand in copier.yml, for Copier alone too."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import TemplateError
from jinja2.sandbox import SandboxedEnvironment

from fastpg_new.errors import BadInput

NAME = "project_name"
_HINTS = {NAME: "take lower-case letters, digits and single - or _, such as my-service"}
_HINT = "give another with --data KEY=VALUE"
_FILE_HINT = "give a YAML file with lines such as `description: My service`"


class Questions:
    """The questions of a template."""

    def __init__(self, copier_yml: str) -> None:
        self._questions = {
            key: entry
            for key, entry in _entries(copier_yml).items()
            # A question that is never asked is computed from the others.
            if not key.startswith("_") and entry.get("when") is not False
        }
        self._jinja = SandboxedEnvironment(
            autoescape=False,
            extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
        )

    def problem(self, key: str, value: str) -> str | None:
        """Why this is no answer to that question, in words that follow "it"."""
        question = self._questions[key]
        choices = question.get("choices") or []
        choices = choices.values() if isinstance(choices, dict) else choices
        try:
            if choices and value not in choices:
                return f"must be one of {', '.join(choices)}"
            return self._say(key, "validator", {key: value})
        except (TemplateError, TypeError) as error:
            raise BadInput(
                f"the template says what {key} may be in a way that only Copier understands",
                "update with Copier itself: copier update",
            ) from error

    def steps(self, before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
        """What a person has to do, question by question, since its answer is another one."""
        both = [key for key in self if key in before and key in now]
        said = {
            key: self._say(key, "steps", {key: now[key], "before": before[key]})
            for key in both
            if before[key] != now[key]
        }
        return {key: text for key, text in said.items() if text}

    def _say(self, key: str, what: str, answers: Mapping[str, str]) -> str | None:
        template = self._jinja.from_string(self._questions[key].get(what, ""))
        return template.render(answers).strip() or None

    def check(self, answers: Mapping[str, str]) -> None:
        """Refuse what is no answer, and answers to what is not asked."""
        for key, value in answers.items():
            if key not in self._questions:
                raise BadInput(
                    f"there is no answer called {key}", f"the answers are {', '.join(self)}"
                )
            if problem := self.problem(key, value):
                what = f"the {'name' if key == NAME else key} {_shortened(value)}"
                raise BadInput(f"{what} {problem}", _HINTS.get(key, _HINT))

    def unanswered(self, answers: Iterable[str]) -> list[str]:
        """The questions that remain."""
        return [key for key in self._questions if key not in set(answers)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._questions)


def _entries(copier_yml: str) -> dict[str, Any]:
    try:
        entries = yaml.safe_load(copier_yml)
        if isinstance(entries, dict) and isinstance(entries.get(NAME), dict):
            return {
                key: entry if isinstance(entry, dict) else {"default": entry}
                for key, entry in entries.items()
            }
    except yaml.YAMLError:
        pass
    raise BadInput(f"the template does not ask for a {NAME}", "give one that descends from ours")


def given(pairs: Iterable[str], file: Path | None) -> dict[str, str]:
    """The answers of --data-file and, before them, of --data."""
    from_file = _from_file(file) if file else {}
    return from_file | dict(_from_pair(pair) for pair in pairs)


def command(path: str, answers: Mapping[str, str], options: Iterable[str]) -> str:
    """The shell command that gives the same project without asking."""
    pairs = [f"--data={key}={value}" for key, value in answers.items() if key != NAME]
    return shlex.join(["fastpg-new", path, "--defaults", *options, *pairs])


def _from_pair(pair: str) -> tuple[str, str]:
    key, separator, value = pair.partition("=")
    if not separator:
        raise BadInput(f"--data {pair!r} is not KEY=VALUE", "write --data description='My service'")
    return key, value


def _from_file(file: Path) -> dict[str, str]:
    try:
        answers = yaml.safe_load(file.read_bytes())
    # PyYAML lets what its own constructors raise through: a date such as 2024-13-45, say.
    except (
        OSError,
        yaml.YAMLError,
        ValueError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not YAML"
        raise BadInput(f"--data-file {file} cannot be read: {reason}", _FILE_HINT) from error
    if not isinstance(answers, dict):
        raise BadInput(f"--data-file {file} holds no answers", _FILE_HINT)
    for key, value in answers.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise BadInput(f"--data-file {file}: {key} is not a text", "put the value in quotes")
    return answers


def _shortened(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:60]}...")
