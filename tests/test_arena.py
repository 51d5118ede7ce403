"""Freed memory is kept for the next question: seen by page faults, not by the clock."""

import json
import subprocess
import sys

import pytest

PROBE = """
import json, resource
import numpy as np
from cttui.flows.arena import keep_freed_memory
from cttui.flows.columns import empty
from cttui.flows.groups import group

columns, rows = empty(200_000), np.arange(200_000)

def faults() -> int:
    group(columns, rows, ["src"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        group(columns, rows, ["src"])
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
print(json.dumps([keep_freed_memory(), given_back, faults()]))
"""


def test_arrays_are_not_paid_for_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    kept, before, after = json.loads(done.stdout)
    if not kept:
        pytest.skip("this C library has no mallopt")
    assert after < max(before / 10, 100)
