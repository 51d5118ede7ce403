"""The tales as bash scripts, run without us: every line they print is what the tale predicts."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandboxed import NOBODY

from cttui.lab.predictions import shown
from cttui.lab.readings import LogSays
from cttui.lab.script import script
from cttui.lab.tale import Tale
from cttui.lab.tales import ALL, TALES

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, also to become an ordinary user")
CLOSED_TO_USERS = {
    (
        "policy-counters",
        "SKIPPED: this user may not read iptables-legacy's counters (/proc/net/ip_tables_names is root's)",
    )
}
SLOW = (
    pytest.mark.slow,
    pytest.mark.skipif("CTTUI_SLOW" not in os.environ, reason="three minutes each: with CTTUI_SLOW=1"),
)
LINE = re.compile(r"^(ok|FAILED) +(.*): predicted (.*), measured (.*)$", re.MULTILINE)


def run(tale: Tale, folder: Path, prefix: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """What the script printed: what is measured → "predicted / measured" of each step in which it is."""
    path = folder / f"{tale.name}.sh"
    path.write_text(script(tale))
    folder.chmod(0o755)
    for _ in range(4):
        done = subprocess.run(
            [*prefix, "bash", str(path)], capture_output=True, text=True, timeout=400, cwd="/"
        )
        if "run this again" not in done.stdout:  # the garbage collector, which no script can keep away
            break
    if done.returncode == 4 and prefix:
        why = done.stdout.splitlines()[-1]
        assert (tale.name, why) in CLOSED_TO_USERS
        pytest.skip(why)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for word, what, predicted, measured in LINE.findall(done.stdout):
        assert word == "ok"
        found.setdefault(what, []).append(f"{predicted} / {measured}")
    return found


def compare(tale: Tale, found: dict[str, list[str]]) -> None:
    """Each expectation has its line, and numbers are those of the tale."""
    for step in tale.steps:
        for e in step.expect:
            if isinstance(e.reading, LogSays) and e.what not in found:
                continue
            line = found[e.what].pop(0)
            if isinstance(e.predicted, int | str):
                assert line == f"{shown(e.predicted)} / {shown(e.predicted)}"
    assert not any(found.values())


def runs() -> Iterator[object]:
    """Each tale as root and as an ordinary user; a twin, which differs in addresses only, as a user."""
    for tale in ALL:
        marks = (*([pytest.mark.fills] if tale.fills else []), *(SLOW if tale.slow else ()))
        for who, prefix in (("root", ()), ("user", NOBODY)):
            if who == "user" or tale in TALES:
                yield pytest.param(tale, prefix, marks=marks, id=f"{tale.name}-{who}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("tale", "prefix"), list(runs()))
def test_a_script_shows_what_the_tale_predicts(tale: Tale, prefix: tuple[str, ...], tmp_path: Path) -> None:
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    compare(tale, run(tale, tmp_path, prefix))
