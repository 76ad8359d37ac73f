"""A project that exists: what it remembers of its template, and its place in a repository."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import yaml

from fastpg_new.errors import BadInput, FastpgNewError, Unsolved
from fastpg_new.git import GitFailed, Repository, environment
from fastpg_new.staging import held

ANSWERS_FILE = ".copier-answers.yml"
# No hooks of the user's get between the steps of an update.
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.quotePath=false",
    "core.safecrlf=false",
    "gc.auto=0",
)
_MARKER = re.compile(rb"(<{7}|\|{7}|={7}|>{7})( .*)?")
_CLEAN = "commit the changes, or put them aside with git stash"


@dataclass(frozen=True)
class Stage:
    """One side of a conflict, as git's index has it."""

    mode: str
    blob: str
    number: int
    path: str


@dataclass(frozen=True)
class Result:
    """What came of a merge, to be applied."""

    tree: str
    """The whole repository's."""
    objects: Path
    """A pack of all that it is made of."""
    stages: list[Stage]
    unmarked: list[str]
    """The conflicts that no marker can show."""


@dataclass(frozen=True)
class State:
    """What an update with conflicts needs, to be continued or aborted."""

    start: str
    conflicts: list[str]
    unmarked: list[str]
    changed: list[str]
    lock: bool
    steps: dict[str, str]
    applied: bool = False
    """Otherwise it was killed in the midst of that."""


class Project:
    """A directory with an answers file in HEAD of a git repository, perhaps in a subdirectory."""

    def __init__(self, path: Path) -> None:
        path = path.resolve()
        around = [path, *path.parents]
        found = next((place for place in around if (place / ANSWERS_FILE).is_file()), None)
        if found is None:
            raise BadInput(
                f"{path} has no {ANSWERS_FILE}", "give the directory of a project that was made so"
            )
        self.path = found
        # A name such as [A-Z].txt means that file, and no others.
        self._git = Repository(found, environment() | {"GIT_LITERAL_PATHSPECS": "1"}, _SETTINGS)
        try:
            self._top = Path(self._git("rev-parse", "--show-toplevel"))
            self.head = self._git("rev-parse", "--verify", "HEAD^{commit}")
        except GitFailed as error:
            raise BadInput(
                f"{found} is in no git repository with a commit: {error.message}",
                "mend what git complains of"
                if any((place / ".git").exists() for place in around)
                else "git init, git add --all, git commit, and again",
            ) from error
        self.prefix = self._git("rev-parse", "--show-prefix")
        self._remembered = self._read_answers()

    @property
    def address(self) -> str:
        """Where its template is."""
        return self._remembered["_src_path"]

    @property
    def commit(self) -> str:
        """The release of the template that it is at."""
        return self._remembered["_commit"]

    @property
    def answers(self) -> dict[str, str]:
        """Its answers, of any question that its template ever asked."""
        return {key: value for key, value in self._remembered.items() if not key.startswith("_")}

    @property
    def objects(self) -> Path:
        """Where its repository keeps what is committed."""
        return Path(self.path, self._git("rev-parse", "--git-path", "objects")).resolve()

    @property
    def object_format(self) -> str:
        """The hash function of its repository."""
        return self._git("rev-parse", "--show-object-format")

    @property
    def tree(self) -> str:
        """What is committed of it."""
        return self._git("rev-parse", f"HEAD:{self.prefix.rstrip('/')}")

    def must_not_wait(self) -> None:
        """Refuse to begin an update before the last one has ended."""
        if state := self.state():
            finish = "finish it with --continue, even if you have committed it, or --abort it"
            undone = "it was undone in the index: clear it away with --abort"
            raise Unsolved(
                "an update waits for its conflicts to be solved",
                finish if state.applied and self._is_in_index(state) else undone,
            )

    def must_be_clean(self) -> None:
        """Refuse what is changed and not committed; untracked files are in nobody's way yet."""
        if unmerged := self._unmerged():
            raise BadInput(f"{unmerged[0]} is not merged", "end what has begun: see git status")
        if absent := self._hidden():
            raise BadInput(
                f"{absent[0]} is not checked out, as a sparse checkout wants it",
                "git sparse-checkout disable, or update in another clone",
            )
        status = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules", "--", ".")
        if changed := self._git(*status).splitlines():
            names = ", ".join(line[3:] for line in changed[:3])
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise BadInput(f"there are changes that are not committed: {names}{more}", _CLEAN)

    def must_have_room(self, paths: Iterable[str]) -> None:
        """Refuse to write over what git does not know, be it ignored."""
        if there := [path for path in paths if self._is_taken(path)]:
            raise BadInput(
                f"the update would write over what is not committed: {', '.join(there[:3])}",
                "commit it, or move it away",
            )

    def whole(self, tree: str, objects: Path) -> str:
        """The tree of the repository with this one as the project's.

        Written to `objects`, which borrow from the repository's own.

        Raises:
            GitFailed: it cannot be checked out.
        """
        elsewhere = {"GIT_OBJECT_DIRECTORY": str(objects)}
        if self.prefix:
            index = elsewhere | {"GIT_INDEX_FILE": str(objects.with_name("whole"))}
            self._git("read-tree", self.head, env=index)
            self._git("rm", "-rfq", "--cached", "--", ".", env=index)
            self._git("read-tree", f"--prefix={self.prefix}", tree, cwd=self._top, env=index)
            tree = self._git("write-tree", env=index)
        self._rehearse(tree, elsewhere)
        return tree

    def apply(self, result: Result, *, lock: bool, steps: Mapping[str, str]) -> list[str]:
        """Bring the result of a merge into index and files, or leave everything.

        Returns the paths that it changed, from the top of the repository. The rest is for `finish`.
        """
        if self._git("rev-parse", "HEAD") != self.head:
            raise BadInput("there are commits since the update began", "update again")
        # Not by a fetch, which obeys more of the user's configuration.
        self._git("unpack-objects", "-q", given=os.fsdecode(result.objects.read_bytes()))
        tree = result.tree
        changed = self._git.names("diff-tree", "-r", "--name-only", "-z", self.head, tree)
        conflicts = list(dict.fromkeys(self.prefix + stage.path for stage in result.stages))
        unmarked = [self.prefix + path for path in result.unmarked]
        state = State(self.head, conflicts, unmarked, changed, lock, dict(steps))
        self._rehearse(tree)  # or nothing is touched
        # No Ctrl-C gets between these lines, and none to the git that they start.
        with held():
            self._begin(state)
            try:
                self._git("read-tree", "-m", "-u", self.head, tree)
                self._check_out_hidden()
                lines = [f"0 {'0' * len(tree)}\t{path}\0" for path in conflicts]
                lines += [
                    f"{stage.mode} {stage.blob} {stage.number}\t{self.prefix}{stage.path}\0"
                    for stage in result.stages
                ]
                if lines:
                    given = "".join(lines)
                    self._git("update-index", "-z", "--index-info", given=given, cwd=self._top)
            except GitFailed as failure:
                self._undo(failure, tree, changed)
                raise
            self._save(replace(state, applied=True))
            if not conflicts:
                self._forget()
        return changed

    def _rehearse(self, tree: str, env: Mapping[str, str] | None = None) -> None:
        self._git("status", "--porcelain", "--untracked-files=no")  # or git compares times alone
        self._git("read-tree", "-m", "-u", "--dry-run", self.head, tree, env=env)

    def _check_out_hidden(self) -> None:
        """Check out what is new, though the patterns of a sparse checkout do not name it."""
        if hidden := "".join(f"{path}\0" for path in self._hidden()):
            self._git("update-index", "--no-skip-worktree", "-z", "--stdin", given=hidden)
            self._git("checkout-index", "--force", "-z", "--stdin", given=hidden)

    def _hidden(self) -> list[str]:
        entries = self._git.names("ls-files", "-t", "-z")
        return [entry[2:] for entry in entries if entry.startswith("S ")]

    def _is_taken(self, path: str) -> bool:
        place = self.path / path
        around = place.relative_to(self.path).parents
        if any(self._is_unknown_file(str(parent)) for parent in around):
            return True
        return os.path.lexists(place)

    def _is_unknown_file(self, path: str) -> bool:
        return _is_file(self.path / path) and not self.tracks(path)

    def tracks(self, path: str) -> bool:
        """Whether a file of the project is in its repository."""
        return bool(self._git("ls-files", "--", path))

    def stage(self, path: str) -> None:
        """Let the next commit have a file as it is now."""
        self._git("add", "--", path)

    def finish(self) -> State:
        """End an update with conflicts, which are solved now; its changes are staged."""
        state = self._must_wait()
        if not (state.applied and self._is_in_index(state)):
            raise Unsolved("the update is not in the index", "give it up with --abort")
        shown = [path for path in state.conflicts if path not in state.unmarked]
        if there := [path for path in shown if (self._top / path).is_file()]:
            self._git("add", "--force", "--", *there, cwd=self._top)
        if unmerged := self._unmerged():
            raise Unsolved(
                f"{unmerged[0]} is not merged", "git add it or git rm it, then --continue once more"
            )
        self._forget()
        return state

    def abort(self) -> None:
        """Give up an update with conflicts: its files are what they were before it."""
        state = self._must_wait()
        paths = [*state.changed, *state.conflicts]
        if state.applied and not self._is_in_index(state):  # given up by other means
            if self._git.names("diff-files", "--name-only", "-z", "--", ANSWERS_FILE):
                raise BadInput(
                    "the update is in the files, though not in the index",
                    f"git add {ANSWERS_FILE} and what else is the update's, then --abort",
                )
            paths = []
        elif state.start != self.head:
            raise BadInput(
                "there are commits since the update began",
                f"to lose them, too: git reset --hard {state.start[:12]}",
            )
        elif state.applied:
            # What is as committed, to the index, is the update's no more, unless it shows markers.
            paths = [*self._staged(paths), *self.marked()]
            self._must_be_free(paths)
        with held():
            self._restore(list(dict.fromkeys(paths)))
            self._forget()

    def marked(self) -> dict[str, list[int]]:
        """Of the files that had conflicts, the lines that still mark one."""
        state, found = self._must_wait(), {}
        for path in state.conflicts:
            if not (self._top / path).is_file():
                continue
            lines = self._staged_content(path).splitlines()
            # Seven = may well underline a title that was there before.
            more = Counter(filter(_MARKER.fullmatch, lines)) - self._lines(state.start, path)
            found[path] = [number for number, line in enumerate(lines, 1) if line in more]
        return {path: numbers for path, numbers in found.items() if numbers}

    def state(self) -> State | None:
        """The update that waits for its conflicts to be solved."""
        try:
            return State(**json.loads(self._state_file.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise FastpgNewError(
                f"{self._state_file} cannot be read", "delete it, and see git status"
            ) from error

    def _unmerged(self) -> list[str]:
        return list(
            dict.fromkeys(self._git.names("diff-files", "--name-only", "--diff-filter=U", "-z"))
        )

    def _staged_content(self, path: str) -> bytes:
        """What the repository would have of a file, whose encoding may be another one."""
        try:
            blob = self._git("hash-object", "-w", "--", path, cwd=self._top)
            return os.fsencode(self._git("cat-file", "blob", blob))
        except GitFailed:  # by a filter; then git add will fail as well
            return (self._top / path).read_bytes()

    def _lines(self, commit: str, path: str) -> Counter[bytes]:
        try:
            text = self._git("show", f"{commit}:{path}")
            return Counter(os.fsencode(text).splitlines())
        except GitFailed:
            return Counter()

    def _must_wait(self) -> State:
        if state := self.state():
            return state
        raise BadInput("no update waits here", "begin one with fastpg-new update")

    def _is_in_index(self, state: State) -> bool:
        """Whether the index has it, or HEAD: every update changes the answers file."""
        changes = ("diff-index", "--cached", "--name-only", "-z", state.start)
        return bool(self._git.names(*changes, "--", ANSWERS_FILE))

    def _staged(self, paths: list[str]) -> list[str]:
        """Those that differ in the index from what is committed, or are not merged."""
        differing = set(self._git.names("diff-index", "--cached", "--name-only", "-z", "HEAD"))
        return [path for path in dict.fromkeys(paths) if path in differing]

    def _undo(self, failure: GitFailed, tree: str, changed: list[str]) -> None:
        """Take back what was written before the failure, but nobody's edit meanwhile."""
        listed = self._git.names("ls-tree", "-r", "-z", "--full-tree", tree)
        written = {name: about.split()[2] for about, name in (x.split("\t", 1) for x in listed)}
        try:
            self._restore([path for path in changed if self._is(path, written.get(path))])
        except GitFailed:
            raise FastpgNewError(failure.message, "mend that, then --abort the update") from failure
        self._forget()

    def _is(self, path: str, blob: str | None) -> bool:
        """Whether a file is gone, or is this blob."""
        if not os.path.lexists(self._top / path):
            return True
        return self._git("hash-object", "--", path, cwd=self._top) == blob

    def _must_be_free(self, paths: Iterable[str]) -> None:
        """Refuse to restore a file where git does not know what is there now."""
        index = set(self._git.names("ls-files", "-z", cwd=self._top))
        for path in paths:
            place = self._top / path
            around = [str(parent) for parent in place.relative_to(self._top).parents][:-1]
            files = [name for name in around if _is_file(self._top / name)]
            if _is_file(place) and path not in index:
                files.append(path)
            elif place.is_dir() and not place.is_symlink() and any(place.iterdir()):
                files.append(f"{path}/")
            if unknown := [name for name in files if name not in index]:
                raise BadInput(
                    f"there was a file {path}, and now there is {unknown[0]}, unknown to git",
                    "move it away, then --abort once more",
                )

    def _restore(self, paths: list[str]) -> None:
        known = set(self._git.names("ls-tree", "-r", "--name-only", "-z", "--full-tree", "HEAD"))
        if old := [path for path in paths if path in known]:
            self._git(
                *("restore", "--source=HEAD", "--staged", "--worktree"),
                *("--pathspec-from-file=-", "--pathspec-file-nul"),
                given="\0".join(old),
                cwd=self._top,
            )
        if new := [path for path in paths if path not in known]:
            self._git("rm", "-rfq", "--ignore-unmatch", "--", *new, cwd=self._top)
            for path in new:  # that it had written, and not yet told the index
                (self._top / path).unlink(missing_ok=True)

    @property
    def _state_file(self) -> Path:
        # One for each project of the repository.
        name = f"fastpg-new-update-{sha256(os.fsencode(self.prefix)).hexdigest()[:12]}.json"
        return Path(self.path, self._git("rev-parse", "--git-path", name))

    def _begin(self, state: State) -> None:
        try:
            self._state_file.touch(exist_ok=False)
        except FileExistsError as error:
            raise Unsolved("another update of it has begun", "see git status") from error
        try:
            self._save(state)
        except OSError:
            self._forget()
            raise

    def _save(self, state: State) -> None:
        new = self._state_file.with_suffix(".new")
        new.write_text(json.dumps(asdict(state), indent=2))
        new.replace(self._state_file)  # never half of it, though the disk be full

    def _forget(self) -> None:
        self._state_file.unlink(missing_ok=True)

    def _read_answers(self) -> dict[str, str]:
        if not self.tracks(ANSWERS_FILE):
            raise BadInput(f"{ANSWERS_FILE} is not committed", "commit it")
        try:
            remembered = yaml.safe_load((self.path / ANSWERS_FILE).read_bytes())
            known = isinstance(remembered, dict) and {"_commit", "_src_path"} <= set(remembered)
            if known and all(isinstance(value, str) for value in remembered.values()):
                return {str(key): value for key, value in remembered.items()}
        # PyYAML lets what its own constructors raise through: a date such as 2024-13-45, say.
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError):
            pass
        raise BadInput(
            f"{ANSWERS_FILE} does not say which release of which template the project is at",
            "restore it from an older commit",
        )


def _is_file(place: Path) -> bool:
    """Whether there is anything but a directory."""
    return place.is_symlink() or (place.exists() and not place.is_dir())
