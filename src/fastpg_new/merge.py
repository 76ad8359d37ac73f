"""Three trees become one: git merges them, in a repository that is thrown away."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fastpg_new.errors import BadInput
from fastpg_new.existing import ANSWERS_FILE, Project, Result, Stage
from fastpg_new.git import GitFailed, Repository, git, isolated, quoted

# As Copier labels them.
OURS, BASE, THEIRS = "before updating", "last update", "after updating"
_SETTINGS = (
    "merge.directoryRenames=true",  # a new file goes where the user moved its directory
    "merge.renameLimit=10000",
    "merge.conflictStyle=merge",
    "core.autocrlf=false",
    "core.quotePath=false",
    "user.name=fastpg-new",
    "user.email=fastpg-new",
)
_SIGNPOST = ".fastpg-new-signpost-"


@dataclass
class Merge:
    """What comes of it; paths are relative to the project."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    """The template changed them; the user had not."""
    merged: list[str] = field(default_factory=list)
    """Both did, in different places."""
    followed: dict[str, str] = field(default_factory=dict)
    """The template changed them; the user had renamed them."""
    renamed: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    conflicts: dict[str, list[str]] = field(default_factory=dict)
    """The lines, from the first to the last of each conflict; none without markers."""
    kept: list[str] = field(default_factory=list)
    """The template has them no longer, but the user had changed them."""
    left_out: list[str] = field(default_factory=list)
    """The template changed them or has them anew, but the user had deleted them or their like."""


class Workshop:
    """A repository beside the project's, which it borrows from; its files are the merge."""

    def __init__(self, project: Project, scratch: Path) -> None:
        self.path = scratch / "merge"
        self._project = project
        env = isolated(scratch / "gitconfig")
        self._git = Repository(self.path, env, _SETTINGS)
        kind = f"--object-format={project.object_format}"
        git("init", "--quiet", "--template=", kind, str(self.path), cwd=scratch, env=env)
        borrowed = self.path / ".git/objects/info/alternates"
        borrowed.parent.mkdir(parents=True, exist_ok=True)
        borrowed.write_bytes(os.fsencode(f"{quoted(str(project.objects))}\n"))
        self._stages: list[Stage] = []

    def merge(self, old: Path, new: Path) -> Merge:
        """What the template changed from `old` to `new`, in what the user has made of `old`."""
        made = Merge()
        everything = self._entries(self._project.tree)
        others = {path: everything[path] for path in everything if _is_anothers(path, everything)}
        ours = {path: everything[path] for path in everything.keys() - others.keys()}
        base = self._written(old, ours)
        base[ANSWERS_FILE] = ours[ANSWERS_FILE]  # which is Copier's to write
        theirs = self._written(new, ours)
        mine = [path for path, entry in everything.items() if base.get(path) != entry]
        _must_fit(mine, [path for path, entry in theirs.items() if base.get(path) != entry])
        trees = {
            "ours": self._tree(ours | self._signposts(ours, base)),
            "theirs": self._tree(theirs | self._signposts(theirs, base)),
        }
        commits = {"base": self._commit("base", self._tree(base))}
        for name, tree in trees.items():
            commits[name] = self._commit(name, tree, commits["base"])
        for name, commit in commits.items():
            self._git("update-ref", f"refs/heads/{name}", commit)
        self._git("checkout", "--quiet", "--detach", commits["ours"])
        merging = ("merge", "--quiet", "--no-ff", "--no-commit", "-s", "ort", commits["theirs"])
        try:
            self._git(*merging)
        except GitFailed:
            if not self._git("ls-files", "--unmerged"):
                # Two directories became one, and git cannot say which file goes there.
                self._git("merge", "--abort")
                self._git("-c", "merge.directoryRenames=false", *merging)
        for path in dict.fromkeys(self._git.names("ls-files", "-z")):
            if PurePosixPath(path).name.startswith(_SIGNPOST):
                self._put(path, None)
        self._settle(made)
        for path in self._git.names("ls-files", "-z"):
            if path not in ours and _deserted(path, base, ours):
                made.left_out.append(path)
                self._put(path, None)
        for path, about in others.items():
            mode, _, blob = about.split()
            self._put(path, Stage(mode, blob, 0, path))
        self._git("checkout-index", "--all", "--force")
        self._describe(made, base, ours)
        return made

    def result(self, made: Merge) -> Result:
        """What it was about, packed for the project's repository, which has room for it."""
        objects = self.path / ".git/objects"
        tree = self._project.whole(self._git("write-tree"), objects)
        wanted = "\n".join([tree, *(stage.blob for stage in self._stages)])
        pack = self.path.with_name("pack")
        name = self._git("pack-objects", "--quiet", "--revs", str(pack), given=wanted)
        unmarked = [path for path, lines in made.conflicts.items() if not lines]
        return Result(tree, pack.with_name(f"pack-{name}.pack"), self._stages, unmarked)

    def _settle(self, made: Merge) -> None:
        """Decide what git left open; what is a conflict is in `_stages`, and marked in the file."""
        sides: dict[str, dict[int, Stage]] = {}
        for entry in self._git.names("ls-files", "--unmerged", "-z"):
            about, path = entry.split("\t", 1)
            mode, blob, number = about.split()
            sides.setdefault(path, {})[int(number)] = Stage(mode, blob, int(number), path)
        mine, yours = self._renamed("ours"), self._renamed("theirs")
        for path, side in sides.items():
            if side.keys() == {1} or (side.keys() == {3} and yours.get(path) in mine.values()):
                self._put(path, None)  # both renamed it: the user's name is as good as any
            elif side.keys() == {2} and mine.get(path) in yours.values():
                self._merge_renamed(made, path, mine[path], yours)
            elif side.keys() == {1, 2}:
                made.kept.append(path)
                self._put(path, side[2])
            elif side.keys() == {1, 3}:
                made.left_out.append(path)
                self._put(path, None)
            else:
                self._stages += side.values()
                self._put(path, self._marked(made, side))

    def _marked(self, made: Merge, side: dict[int, Stage], *, renamed: bool = False) -> Stage:
        """The file of a conflict with its markers; the user's where there can be none."""
        shown = side.get(2) or side[3]
        made.conflicts[shown.path] = []
        # A link has no lines.
        regular = all(stage.mode.startswith("100") for stage in side.values())
        if not (regular and {2, 3} <= side.keys()):
            return shown
        nothing = self._git("hash-object", "-w", "--stdin")
        blobs = [side[number].blob if number in side else nothing for number in (2, 1, 3)]
        files = [self._git("unpack-file", blob) for blob in blobs]
        labels = [argument for label in (OURS, BASE, THEIRS) for argument in ("-L", label)]
        with suppress(GitFailed):  # which says that there are conflicts, or that this is no text
            self._git("merge-file", "--quiet", *labels, *files)
        made.conflicts[shown.path] = _marked_lines((self.path / files[0]).read_bytes())
        blob = self._git("hash-object", "-w", "--no-filters", files[0])
        for file in files:
            (self.path / file).unlink(missing_ok=True)
        if not made.conflicts[shown.path] and not renamed:
            return shown  # it has no lines, or an attribute says that it is not to be merged
        modes = {number: stage.mode for number, stage in side.items()}
        mode = modes[3] if modes[2] == modes.get(1) else modes[2]
        return Stage(mode, blob, 0, shown.path)

    def _merge_renamed(self, made: Merge, path: str, before: str, yours: dict[str, str]) -> None:
        after = next(name for name, old in yours.items() if old == before)
        names = {1: ("base", before), 2: ("ours", path), 3: ("theirs", after)}
        side = {}
        for number, (tree, name) in names.items():
            mode, _, blob = self._entries(f"refs/heads/{tree}")[name].split()
            side[number] = Stage(mode, blob, number, path)
        self._put(path, self._marked(made, side, renamed=True))
        if made.conflicts[path]:
            self._stages += side.values()
        else:
            del made.conflicts[path]

    def _renamed(self, side: str) -> dict[str, str]:
        """The files that one side renamed: the old name of each new one."""
        options = ("-r", "-M", "--diff-filter=R", "-z", "--name-status")
        names = self._git.names("diff-tree", *options, "refs/heads/base", f"refs/heads/{side}")
        return dict(zip(names[2::3], names[1::3], strict=True))

    def _put(self, path: str, stage: Stage | None) -> None:
        lines = f"0 {'0' * len(self._project.tree)}\t{path}\0"
        if stage:
            lines += f"{stage.mode} {stage.blob} 0\t{path}\0"
        self._git("update-index", "-z", "--index-info", given=lines)
        if not stage:
            (self.path / path).unlink(missing_ok=True)

    def _describe(self, made: Merge, base: dict[str, str], ours: dict[str, str]) -> None:
        changes = ("diff-tree", "-r", "-M", "-z", "--name-status", self._project.tree)
        fields = iter(self._git.names(*changes, self._git("write-tree")))
        moved = self._renamed("ours")
        for status in fields:
            path = next(fields)
            if status[0] == "R":
                made.renamed[path] = path = next(fields)
            elif status[0] == "A":
                made.added.append(path)
            elif status[0] == "D":
                made.removed.append(path)
            elif path in made.conflicts or path == ANSWERS_FILE:
                continue
            elif path in moved:
                made.followed[moved[path]] = path
            else:
                (made.updated if ours[path] == base.get(path) else made.merged).append(path)

    def _written(self, files: Path, ours: dict[str, str]) -> dict[str, str]:
        """Rendered files as entries of a tree, with the line ends that the user's have."""
        crlf = self._crlf()
        mostly = len(crlf) > len(ours) / 2
        for file in (path for path in files.rglob("*") if path.is_file() and not path.is_symlink()):
            path = str(file.relative_to(files))
            content = file.read_bytes()
            if (path in crlf or (mostly and path not in ours)) and b"\0" not in content:
                file.write_bytes(content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        rendered = {
            "GIT_INDEX_FILE": str(self.path / ".git/rendered"),
            "GIT_DIR": str(self.path / ".git"),
            "GIT_WORK_TREE": str(files),
        }
        self._git("read-tree", "--empty", env=rendered)
        self._git("add", "--force", "--all", ".", cwd=files, env=rendered)
        return self._entries(self._git("write-tree", env=rendered))

    def _crlf(self) -> set[str]:
        """The user's files with CRLF at the end of every line."""
        index = {"GIT_INDEX_FILE": str(self.path / ".git/ours")}
        self._git("read-tree", self._project.tree, env=index)
        entries = (
            entry.split("\t", 1) for entry in self._git.names("ls-files", "--eol", "-z", env=index)
        )
        return {path for about, path in entries if about.startswith("i/crlf")}

    def _entries(self, tree: str) -> dict[str, str]:
        """Of each path its mode, type and object."""
        listed = self._git.names("ls-tree", "-r", "-z", "--full-tree", tree)
        return {path: about for about, path in (entry.split("\t", 1) for entry in listed)}

    def _signposts(self, side: dict[str, str], base: dict[str, str]) -> dict[str, str]:
        """A file in each known directory below which one side has something new.

        Git looks for directories that the other side renamed only where files are added, and not
        where directories are.
        """
        known = {str(parent) for path in base for parent in PurePosixPath(path).parents}
        added = [PurePosixPath(path) for path in side.keys() - base.keys()]
        posts = {}
        for place in known & {str(parent) for path in added for parent in path.parents} - {"."}:
            blob = self._git("hash-object", "-w", "--stdin", given=f"{place}\n")
            posts[f"{place}/{_SIGNPOST}{blob}"] = f"100644 blob {blob}"
        return posts

    def _tree(self, entries: dict[str, str]) -> str:
        index = {"GIT_INDEX_FILE": str(self.path / ".git/made")}
        self._git("read-tree", "--empty", env=index)
        lines = "".join(f"{about}\t{path}\0" for path, about in entries.items())
        self._git("update-index", "-z", "--index-info", given=lines, env=index)
        return self._git("write-tree", env=index)

    def _commit(self, name: str, tree: str, *parents: str) -> str:
        options = [argument for parent in parents for argument in ("-p", parent)]
        return self._git("commit-tree", tree, *options, "-m", name)


def _must_fit(ours: Iterable[str], theirs: Iterable[str]) -> None:
    """Refuse what cannot stand beside the user's: a file where there is a directory."""
    mine = set(ours)
    around = {str(parent) for path in mine for parent in PurePosixPath(path).parents}
    for path in theirs:
        above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) in mine]
        if above or path in around:
            what = "file" if above else "directory"
            raise BadInput(
                f"the template has {path} now, and {(above or [path])[0]} is a {what} of yours",
                "move it, commit, and update again",
            )


def _is_anothers(path: str, known: Iterable[str]) -> bool:
    """Whether a path belongs to a project of its own, below this one."""
    around = [parent for parent in PurePosixPath(path).parents if str(parent) != "."]
    return any(str(parent / ANSWERS_FILE) in known for parent in around)


def _deserted(path: str, base: dict[str, str], ours: dict[str, str]) -> bool:
    """Whether the user deleted a directory around this path: several files, all that were there.

    Who deletes a single one says nothing about others.
    """
    around = [f"{parent}/" for parent in PurePosixPath(path).parents][:-1]
    return any(
        sum(known.startswith(place) for known in base) > 1
        and not any(mine.startswith(place) for mine in ours)
        for place in around
    )


def _marked_lines(content: bytes) -> list[str]:
    lines = content.splitlines()
    first = [number for number, line in enumerate(lines, 1) if line.startswith(b"<<<<<<< ")]
    last = [number for number, line in enumerate(lines, 1) if line.startswith(b">>>>>>> ")]
    return [f"{begin}-{end}" for begin, end in zip(first, last, strict=False)]
