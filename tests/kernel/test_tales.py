"""The tales themselves, told by the program to root and to an ordinary user: as predicted, and nothing left."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from leftovers import fresh_mark, marked, wait_until
from sandboxed import REPOSITORY, python_for_nobody

from cttui.lab.tales import ALL, TALES

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, also to become an ordinary user")


def tell(argv: list[str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and results of `cttui tale … --json`."""
    done = subprocess.run(
        [*argv, "-P", "-m", "cttui", "tale", *arguments, "--json"],
        capture_output=True, text=True, timeout=600, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(params=["root", "user"])
def argv(request: pytest.FixtureRequest) -> list[str]:
    return [sys.executable] if request.param == "root" else python_for_nobody()


def tellings() -> Iterator[object]:
    """All at once to an ordinary user; to root without twins, which differ in addresses only."""
    quick = [tale for tale in ALL if not tale.slow]
    yield pytest.param("user", ["--all"], [tale.name for tale in quick], marks=pytest.mark.fills, id="user")
    for fills in (True, False):
        names = [tale.name for tale in quick if tale in TALES and tale.fills is fills]
        marks = pytest.mark.fills if fills else ()
        yield pytest.param("root", names, names, marks=marks, id="root-full" if fills else "root")


SEEN = {"ten-syns": [10, 10, 10, 0], "table-full": [10, 7, 7, 3]}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("who", "words", "names"), list(tellings()))
def test_every_tale_comes_true(who: str, words: list[str], names: list[str]) -> None:
    code, told = tell([sys.executable] if who == "root" else python_for_nobody(), *words)
    wrong = [(t["tale"], row) for t in told for row in t["rows"] if not row["ok"]]
    assert (code, wrong) == (0, [])
    assert [(t["tale"], t["skipped"]) for t in told if t["skipped"]] == []
    assert [t["tale"] for t in told] == names
    for t in told:
        assert t["ok"] is True and t["rows"] and t["kernel"] == os.uname().release
        measured = [row["measured"] for row in t["rows"]][:4]
        assert measured == SEEN.get(t["tale"], measured)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif("CTTUI_SLOW" not in os.environ, reason="three minutes each: with CTTUI_SLOW=1")
@pytest.mark.fills
@pytest.mark.parametrize("tale", [tale.name for tale in ALL if tale.slow])
def test_a_slow_tale_comes_true(argv: list[str], tale: str) -> None:
    code, told = tell(argv, tale)
    assert (code, [row for row in told[0]["rows"] if not row["ok"]]) == (0, []), told[0]["skipped"]
    assert len(told[0]["rows"]) >= 8


@pytest.mark.timeout(120)
def test_a_killed_tale_leaves_nothing() -> None:
    mark = fresh_mark()
    process = subprocess.Popen(
        ["env", mark, sys.executable, "-P", "-m", "cttui", "tale", "ten-syns", "--step"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert process.stdout is not None and process.stdin is not None
    for line in process.stdout:
        if line.startswith(b"Step 1"):
            break
    assert any("cttui probe" in line for line in marked(mark).values())
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    wait_until(lambda: not marked(mark))
    assert marked(mark) == {}
