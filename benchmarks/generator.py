"""How long `fastpg-new --help` and a default render take, start of the process included."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7
TARGETS = {"--help": 0.25, "a default render": 2.0}
RENDER = ["--defaults", "--no-lock", "--no-git", "--quiet"]


def seconds(*arguments: str) -> float:
    """One run of the command."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "fastpg_new", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Print the medians beside their targets."""
    with tempfile.TemporaryDirectory() as directory:
        seconds("--help")  # compiles what was never run
        seconds(str(Path(directory, "first")), *RENDER)
        measured = {
            "--help": [seconds("--help") for _ in range(RUNS)],
            "a default render": [
                seconds(str(Path(directory, f"run-{number}")), *RENDER) for number in range(RUNS)
            ],
        }
    for name, times in measured.items():
        figures = f"{statistics.median(times):.2f} s (from {min(times):.2f} to {max(times):.2f})"
        print(f"{name:<18} median of {RUNS}: {figures}, target {TARGETS[name]} s")


if __name__ == "__main__":
    main()
