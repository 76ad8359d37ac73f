"""What changed between two releases, from the template's own CHANGELOG.md."""

import re
from dataclasses import dataclass

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_STEPS = re.compile(r"^### Steps$\n(.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Section:
    """A release, or what is not released yet."""

    title: str
    changes: str
    steps: str
    """What a person has to do in a service that was made before."""


def since(changelog: str, release: str) -> list[Section]:
    """The sections above that of `release`, such as v1.2.0, newest first."""
    _, *parts = _SECTION.split(changelog)
    sections = []
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        if title.split()[:1] == [release.removeprefix("v").split("-")[0]]:
            break
        steps = "".join(found.strip() for found in _STEPS.findall(text))
        changes = _STEPS.sub("", text).strip()
        if changes or steps:
            sections.append(Section(title.strip(), changes, steps))
    return sections
