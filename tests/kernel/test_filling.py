"""What a fill needs a person for, on a kernel whose limit is too high: asked, written with a guard, put back.

Raising nf_conntrack_max costs nobody anything; a child puts it back even should this process be killed.
"""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from leftovers import wait_until
from live import live
from sandboxed import REPOSITORY, python_for_nobody

from cttui.client import targets
from cttui.model.actions import Fill
from cttui.ui.lab import TaleScreen

MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
USUAL = 262_144
TALE = ("-P", "-m", "cttui", "tale")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm"}
pytestmark = [
    pytest.mark.kernel,
    pytest.mark.fills,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.access(MAX, os.W_OK), reason="needs root in the machine's first namespace"),
]


def limit() -> int:
    return int(MAX.read_text())


@pytest.fixture
def high() -> Iterator[int]:
    """A limit that is unreasonable for the hash: more than eight entries a bucket."""
    before = limit()
    above = 8 * int(MAX.with_name("nf_conntrack_buckets").read_text()) + 8
    script = f"echo {above} >{MAX}; echo high; read x; echo {before} >{MAX}"
    keeper = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert keeper.stdin is not None and keeper.stdout is not None
    try:
        assert keeper.stdout.readline() == b"high\n"
        yield above
    finally:
        keeper.stdin.close()
        keeper.wait()
        keeper.stdout.close()
    assert limit() == before


class Terminal:
    """The program on a terminal of its own; its stdout goes to a file."""

    def __init__(self, folder: Path, *argv: str) -> None:
        self._out = folder / "out"
        ours, theirs = pty.openpty()
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                argv,
                stdin=theirs,
                stdout=out,
                stderr=theirs,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        os.close(theirs)
        self._fd, self.said = ours, ""

    def until(self, words: str) -> None:
        """Read what the terminal shows until it has shown these words."""
        while words not in self.said:
            self.said += os.read(self._fd, 4096).decode()

    def type(self, text: str) -> None:
        """As a person would."""
        os.write(self._fd, text.encode())

    def told(self) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and results."""
        code = self.process.wait(timeout=60)
        os.close(self._fd)
        return code, json.loads(self._out.read_text())


@pytest.mark.alone
def test_a_yes_lowers_the_limit_for_as_long_as_the_tale_lasts(high: int, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, sys.executable, *TALE, "table-full", "stray-ack-loose", "--json", "--yes")
    terminal.until("[y/N]")
    said = " ".join(terminal.said.split())
    assert f"{high:,} → {USUAL:,}" in said
    assert "every network namespace of this machine" in said and "goes back by itself" in said
    assert limit() == high, "--yes is for the sandbox, not for the host"
    terminal.type("y\n")
    code, told = terminal.told()
    assert code == 0 and [tale["ok"] for tale in told] == [True, True], "asked once for both"
    assert f"is {USUAL:,} instead of {high:,}" in told[0]["notes"][0]
    wait_until(lambda: limit() == high)
    assert limit() == high


@pytest.mark.alone
def test_a_no_skips(high: int, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, sys.executable, *TALE, "table-full", "--json")
    terminal.until("[y/N]")
    terminal.type("\n")
    code, told = terminal.told()
    assert code == 1 and told[0]["ok"] is None and "buckets" in told[0]["skipped"]
    assert limit() == high


@pytest.mark.alone
def test_a_killed_tale_puts_back(high: int, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, sys.executable, *TALE, "gc-over-95")
    terminal.until("[y/N]")
    terminal.type("y\n")
    wait_until(lambda: limit() == USUAL)
    assert limit() == USUAL
    terminal.process.kill()
    terminal.process.wait()
    wait_until(lambda: limit() == high)
    assert limit() == high


@pytest.mark.alone
@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
def test_without_a_terminal_or_the_right_nobody_is_asked(high: int, tmp_path: Path, user: bool) -> None:
    argv = [*(python_for_nobody() if user else [sys.executable]), *TALE, "table-full", "--json"]
    if user:
        terminal = Terminal(tmp_path, *argv)
        code, told = terminal.told()
    else:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=ENVIRONMENT, cwd="/"
        )
        code, told = done.returncode, json.loads(done.stdout)
    assert code == 1 and told[0]["ok"] is None
    assert re.search(r"as root: sysctl net\.netfilter\.nf_conntrack_max=\d+", told[0]["skipped"])
    assert limit() == high


@pytest.mark.alone
async def test_the_tale_screen_offers_it(high: int) -> None:
    async with live(targets.sandbox()) as d:
        await d.press("T", *["j"] * 2, "enter")
        await d.until(lambda: isinstance(d.app.screen, TaleScreen))
        await d.press("r")
        await d.until("Lower the host's limit?")
        assert f"{high:,}  →  {USUAL:,}" in d.text and "every network namespace of this machine" in d.text
        await d.press("enter")
        assert limit() == high, "Enter is no yes"
        await d.press("y")
        await d.until("Everything as predicted")
        assert limit() == USUAL and "instead of" in d.text
    wait_until(lambda: limit() == high)
    assert limit() == high


@pytest.mark.alone
async def test_the_settings_offer_it(high: int) -> None:
    async with live(targets.sandbox()) as d:
        await d.press("t")
        await d.until("free slots")
        await d.press("home", "enter")
        await d.until("How many slots")
        await d.press("enter")
        await d.until("Lower the host's limit?")
        await d.press("escape")
        await d.until("as root: sysctl")
        await d.press("enter")
        await d.until("How many slots")
        await d.press("enter")
        await d.until("Lower the host's limit?")
        await d.press("y")
        await d.until("7 free")
    wait_until(lambda: limit() == high)


async def test_the_settings_ask_about_memory() -> None:
    async with live(targets.sandbox()) as d:
        doing = d.app.probe_actions
        really = doing.do

        async def careful(action: object) -> int:
            if isinstance(action, Fill):
                action = msgspec.structs.replace(action, ask_above_bytes=1)
            return await really(action)

        doing.do = careful  # type: ignore[method-assign]
        for answer, then in (("escape", "That much is filled only"), ("y", "7 free")):
            if answer == "escape":
                await d.press("t")
            await d.until("free slots")
            await d.press("home", "enter")
            await d.until("How many slots")
            await d.press("enter")
            await d.until("Fill the table?")
            assert re.search(r"takes 26\d,\d\d\d entries, 1\d\d MB", d.text)
            await d.press(answer)
            await d.until(then)


PATCHED = """
import sys
from cttui.lab import moves
whole = moves.FillTo.fill
def fill(self, limit, confirmed):
    import msgspec
    return msgspec.structs.replace(whole(self, limit, confirmed), ask_above_bytes=1)
moves.FillTo.fill = fill
from cttui.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The program, asking above one byte instead of 256 MB."""


@pytest.mark.parametrize(
    ("typed", "yes", "code"), [("y\n", False, 0), ("n\n", False, 1), ("", True, 0)], ids=["y", "n", "--yes"]
)
def test_much_memory_is_asked_about(tmp_path: Path, typed: str, yes: bool, code: int) -> None:
    more = ("--yes",) if yes else ()
    terminal = Terminal(tmp_path, sys.executable, "-P", "-c", PATCHED, "tale", "table-full", "--json", *more)
    if typed:
        terminal.until("[y/N]")
        assert re.search(r"takes 262,\d\d\d entries, 1\d\d MB of\s+kernel memory", terminal.said), (
            terminal.said
        )
        terminal.type(typed)
    ended, told = terminal.told()
    assert ended == code
    assert told[0]["ok"] is (True if code == 0 else None)


def test_much_memory_without_a_terminal_is_skipped_by_name() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PATCHED, "tale", "table-full", "--json"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=ENVIRONMENT, cwd="/",
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert done.returncode == 1 and "--yes" in told[0]["skipped"]
