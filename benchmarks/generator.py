"""How long the command takes, start of the process included; and by `--profile`, where it goes."""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fastpg_new import source
from fastpg_new.render import render

RUNS = 7
PROFILED = 50  # lines
TARGETS = {"--help": 0.12, "a default render": 1.0, "update --check": 0.8, "an update": 5.0}
RENDER = ["--defaults", "--no-lock", "--no-git", "--quiet"]


def seconds(*arguments: str, code: int = 0) -> float:
    """One run of the command."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "fastpg_new", *arguments]
    ended = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    if ended != code:
        sys.exit(f"{command} ended with {ended}")
    return time.perf_counter() - begin


def oldest(directory: Path) -> Path:
    """A project of the first release, with an edit."""
    (directory / "template").mkdir()
    newest = source.find(None, directory / "template")
    template = newest.at(newest.releases[0])
    if template is None:
        sys.exit("this clone is too shallow: git fetch --unshallow")
    project = directory / "my-service"
    render(template, project, {"project_name": project.name})
    with (project / "pyproject.toml").open("a") as file:
        file.write("# mine\n")
    settings = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "Mine"]):
        subprocess.run(["git", *settings, *command], cwd=project, check=True)
    return project


def profile(*arguments: str) -> None:
    """Print in which functions one run spends its time, those below them included."""
    profiled = ["-m", "cProfile", "--sort", "cumulative", "-m", "fastpg_new", *arguments]
    ended = subprocess.run([sys.executable, *profiled], check=True, stdout=subprocess.PIPE)
    print(
        f"fastpg-new {' '.join(arguments)}",
        *ended.stdout.decode().splitlines()[:PROFILED],
        sep="\n",
    )


def main() -> None:
    """Print the medians beside their targets, or the profiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="of a creation and of an update")
    arguments = parser.parse_args()
    if arguments.profile:
        with tempfile.TemporaryDirectory() as directory:
            profile(str(Path(directory, "created")), *RENDER)
            profile("update", str(oldest(Path(directory))), "--no-lock", "--quiet")
        return
    with tempfile.TemporaryDirectory() as directory:
        seconds("--help")  # compiles what was never run
        seconds(str(Path(directory, "first")), *RENDER)
        measured = {
            "--help": [seconds("--help") for _ in range(RUNS)],
            "a default render": [
                seconds(str(Path(directory, f"run-{number}")), *RENDER) for number in range(RUNS)
            ],
        }
        project = oldest(Path(directory))
        copies = [Path(directory, f"updated-{number}") for number in range(RUNS)]
        for copy in copies:
            shutil.copytree(project, copy)
        measured["update --check"] = [
            seconds("update", str(path), "--check", code=4) for path in copies
        ]
        measured["an update"] = [seconds("update", str(path), "--no-lock") for path in copies]
    for name, times in measured.items():
        figures = f"{statistics.median(times):.2f} s (from {min(times):.2f} to {max(times):.2f})"
        print(f"{name:<18} median of {RUNS}: {figures}, target {TARGETS[name]} s")


if __name__ == "__main__":
    main()
