"""What a request costs, counted rather than timed: it is the same on every machine."""

import json
import subprocess

import pytest

from tests.conftest import ROOT
from tests.product.conftest import Service

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


@pytest.mark.larger
def test_fastapi_does_what_it_did_when_it_was_looked_at(service: Service) -> None:
    # If not, services are slower and as safe. Compare FastAPI's steps with `finding.py`, then renew
    # what is known there; the range of versions begins with the new one.
    command = "from my_service import finding; print(finding.fingerprint() == finding.KNOWN)"
    assert service.run("uv", "run", "python", "-c", command).splitlines()[-1] == "True"
