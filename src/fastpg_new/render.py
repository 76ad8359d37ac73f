"""One call of Copier."""

import os
import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from copier._main import Worker, as_operation
from copier._settings import SettingsModel
from copier.errors import InteractiveSessionError, UnsafeTemplateError
from plumbum import ProcessExecutionError

from fastpg_new.errors import BadInput, FastpgNewError
from fastpg_new.git import GitFailed
from fastpg_new.source import Template, undisturbed

_ANSWERS_FILE = ".copier-answers.yml"


class QuickWorker(Worker):
    """Copier without what takes half of its time."""

    def _sync_git_index_executable_bit(self, *_: object) -> None:
        """Do not ask git about each file, 5 ms: nothing here is tracked yet."""

    @cached_property
    def jinja_env(self) -> Any:
        """Compile the names of a directory and of the answers once, not for each file."""
        environment: Any = super().jinja_env
        environment.from_string = cache(environment.from_string)
        return environment


def render(
    template: Template,
    project: Path,
    answers: Mapping[str, str],
    prefilled: Mapping[str, str] | None = None,
    *,
    operation: Literal["copy", "update"] = "copy",
    exclude: Sequence[str] = (),
) -> dict[str, str]:
    """Render into `project` and return all answers; ask for the rest where `prefilled` is given.

    An update has no files that are written once.
    """
    with (
        _explained(template),
        warnings.catch_warnings(action="ignore"),
        undisturbed(template.scratch),
        QuickWorker(
            src_path=template.address,
            dst_path=project,
            data=dict(answers),
            vcs_ref=template.commit,
            settings=SettingsModel(),  # not the user's, whose defaults nobody else has
            defaults=prefilled is None,
            user_defaults=dict(prefilled or {}),
            exclude=exclude,
            quiet=True,
        ) as worker,
    ):
        # Copier would clone it once more, and look for submodules twice: 0.15 s.
        worker.template.local_abspath = template.checkout()
        as_operation(operation)(worker.run_copy)()
    _respect_umask(project)
    return _recorded(project)


@contextmanager
def _explained(template: Template) -> Iterator[None]:
    """Say in our words what Copier cannot do."""
    try:
        yield
    except InteractiveSessionError as error:  # the end of input
        raise KeyboardInterrupt from error
    except UnsafeTemplateError as error:
        raise BadInput(
            "the template runs code of its own", "take one without tasks and Jinja extensions"
        ) from error
    except ProcessExecutionError as error:  # an OSError to plumbum
        complaint = error.stderr.strip().splitlines() or [f"it ended with {error.retcode}"]
        raise GitFailed(complaint[-1]) from error
    except (KeyboardInterrupt, OSError):  # Copier derives the former from Exception too
        raise
    except Exception as error:
        raise FastpgNewError(
            f"the template cannot be rendered: {error}", f"its commit is {template.commit}"
        ) from error


def _respect_umask(project: Path) -> None:
    """Copier gives executables to everybody."""
    os.umask(umask := os.umask(0))
    for path in (path for path in project.rglob("*") if not path.is_symlink()):
        if (mode := path.stat().st_mode) & umask:
            path.chmod(stat.S_IMODE(mode) & ~umask)


def _recorded(project: Path) -> dict[str, str]:
    answers = yaml.safe_load((project / _ANSWERS_FILE).read_bytes())
    return {key: value for key, value in answers.items() if not key.startswith("_")}
