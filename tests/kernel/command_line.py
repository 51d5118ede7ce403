"""The program as a script calls it, and conntrack beside it."""

import subprocess
import sys
from typing import Any

CTTUI = [sys.executable, "-P", "-m", "cttui"]


def cttui(*argv: str, check: bool = True, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A run of the program from another folder."""
    done = subprocess.run([*prefix, *CTTUI, *argv], capture_output=True, text=True, timeout=120, cwd="/")
    assert "Traceback" not in done.stderr, done.stderr
    assert not check or done.returncode == 0, done.stderr
    return done


def oracle(netns: Any) -> list[str]:
    """What conntrack prints of both families."""
    out: str = netns.run("conntrack", "-L", "-o", "extended,id")
    return out.splitlines()
