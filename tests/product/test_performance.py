"""What a request costs, counted rather than timed: it is the same on every machine."""

import json
import subprocess

import pytest

from tests.conftest import ROOT

# Round trips, and calls of Python functions with 3 % of slack.
MOST = {
    "read": (3, 300),
    "page of 50": (3, 379),
    "create": (3, 350),
    "conflict": (3, 460),
    "update": (4, 1014),  # the row is locked first
    "livez": (0, 84),
}


@pytest.mark.larger
def test_a_request_costs_no_more_than_it_did() -> None:
    command = ["uv", "run", "--quiet", "benchmarks/service.py", "--count", "--only", "service"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)["service"]
    assert counted.keys() == MOST.keys()
    for kind, (round_trips, calls) in MOST.items():
        assert counted[kind][0] == round_trips, kind
        assert counted[kind][1] <= calls, kind
