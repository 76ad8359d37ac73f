"""The place of the new project."""

import os
from pathlib import Path

from fastpg_new.errors import BadInput
from fastpg_new.staging import held

_REMEDY = "choose another name, or another directory to create it in"


class Target:
    """A path that holds nothing yet, and then, in one step, the whole project."""

    def __init__(self, path: str) -> None:
        self.shown = f"./{path}" if path.startswith("-") else path
        self.name = Path(path).name
        self._taken = False
        self.path = Path(os.path.abspath(Path(path).parent), self.name)  # noqa: PTH100 (without ..)

    def must_be_free(self) -> None:
        """Refuse what exists, but for an empty directory."""
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            raise BadInput(f"{self.shown} exists and is no directory", _REMEDY)
        if self.path.is_dir() and any(self.path.iterdir()):
            raise BadInput(f"{self.shown} exists and is not empty", _REMEDY)
        if self.path.is_dir() and self.path.samefile(Path.cwd()):
            raise BadInput(f"{self.shown} is the current directory", "go to its parent first")
        if not self.ancestor.is_dir():
            raise BadInput(f"{self.ancestor} is not a directory", _REMEDY)

    @property
    def ancestor(self) -> Path:
        """The nearest that exists: what is made in it is on the same file system."""
        return next(parent for parent in self.path.parents if parent.exists())

    def take(self, project: Path) -> None:
        """Rename the project into place, with the parents it needs, or leave everything."""
        made: list[Path] = []
        with held():
            try:
                for parent in reversed(self.path.parents):
                    if not parent.exists():
                        parent.mkdir()
                        made.append(parent)
                project.rename(self.path)
            except OSError:
                for parent in reversed(made):
                    parent.rmdir()
                raise
            self._taken = True

    def remains(self) -> str:
        """What an interrupt has left."""
        return f"the project in {self.path} is complete" if self._taken else "nothing was created"
