"""The program in a real terminal, as root and as an ordinary user, at two sizes: what a person reads.

Everything asserted here is text on the screen. What the kernel counted is behind it: these runs have no
recordings and no fakes.
"""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from leftovers import alive, descendants, fresh_mark, host_state, inside, marked, wait_until
from sandboxed import NO_CONNTRACK, NO_FIREWALL_TOOLS, python_for_nobody, without_user_namespaces

pytestmark = [
    pytest.mark.tmux,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, also to become an ordinary user"),
]
SIZES = [(80, 24), (160, 50)]
FRESH = "fire 10 SYNs"
FULL_S = 90.0
"""A table is filled within seconds, beside a busy machine's other work within this."""


def command(who: str) -> list[str]:
    """The words that start the program from any folder, as `who`."""
    python = [sys.executable] if who == "root" else python_for_nobody()
    return [*python, "-P", "-m", "cttui"]


@pytest.fixture(params=["root", "user"])
def cttui(request: pytest.FixtureRequest) -> list[str]:
    """The program's command, for root and for an ordinary user."""
    return command(request.param)


def probes_below(pid: int) -> list[int]:
    """Processes that are a probe (not what `unshare` or a shell was told to start)."""
    out = []
    for child in descendants(pid):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"probe" in words and b"python" in words[0] and b"cttui" in words:
            out.append(child)
    return out


def programs_below(pid: int) -> list[int]:
    """Processes that are the dashboard."""
    out = []
    for child in descendants(pid):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"python" in words[0] and b"cttui" in words and not any(w.startswith(b"probe") for w in words):
            out.append(child)
    return out


def counted(screen: str, table: str) -> int:
    """What the path of the hooks shows at a table: `raw 10 ──▶ conntrack  7 … ──▶ mangle 7`."""
    found = re.search(rf"\b{table}\D{{0,24}}?([\d,]+)", screen[screen.index("2 Hooks") :])
    assert found is not None, screen
    return int(found[1].replace(",", ""))


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_ten_syns(tmux: Any, cttui: list[str], columns: int, rows: int) -> None:
    tmux.start([*cttui, "--sandbox"], columns, rows)
    screen = tmux.wait_for("SANDBOX", FRESH, "0 / 262,144" if _limit() == 262144 else "0 / ")
    assert "Traceback" not in screen
    tmux.keys("b")
    screen = tmux.wait_for(
        "raw +10", "mangle +10", "SYN_SENT 10", "10 packets", "198.51.100.2:10009", "192.0.2.1:80 [S]"
    )
    assert re.search(r"new 10 SYN_SENT", screen)
    assert re.search(r"\b10 / ", screen)  # the gauge
    tmux.wait_for("raw 10 ──▶ conntrack 10 ──▶ mangle 10" if columns == 80 else "mangle")
    _quit(tmux)


@pytest.mark.fills
@pytest.mark.timeout(600)  # it waits for other full sandboxes
def test_ten_syns_into_seven_slots(tmux: Any, cttui: list[str]) -> None:
    _start_full(tmux, cttui, 160, 50)
    tmux.keys("b")
    screen = tmux.wait_for("raw +10", "mangle +7", "new 7 SYN_SENT", "drop +3", "table full", deadline=FULL_S)
    assert "100%" in screen
    assert "0 free" in screen
    assert "3 packets" in screen
    _quit(tmux)


@pytest.mark.fills
@pytest.mark.timeout(600)  # it waits for other full sandboxes
def test_ten_syns_into_seven_slots_on_a_small_screen(tmux: Any, cttui: list[str]) -> None:
    _start_full(tmux, cttui, 80, 24)
    tmux.keys("b")
    screen = tmux.wait_for("raw +10", "mangle +7", "drop +3", "table full", deadline=FULL_S)
    assert "0 free" in screen
    assert "3 packets" in screen
    _quit(tmux)


@pytest.mark.fills
@pytest.mark.timeout(600)  # it waits for other full sandboxes
def test_a_table_that_was_not_filled_says_why_and_a_key_tries_again(tmux: Any, cttui: list[str]) -> None:
    with _the_one_full_table():
        tmux.start([*cttui, "--sandbox", "--free", "7"])
        screen = tmux.wait_for("The table is not filled. Another sandbox", "R again")
        assert "only one may be full at a time" in screen
        assert "R  try again, in a new sandbox" in screen
    tmux.keys("R")
    tmux.wait_for(" 7 free", deadline=FULL_S)
    assert "not filled" not in tmux.screen()
    _quit(tmux)


@contextlib.contextmanager
def _the_one_full_table() -> Iterator[None]:
    """What a full sandbox holds for as long as it is full."""
    module = os.open("/sys/module/nf_conntrack", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(module, fcntl.LOCK_EX)
        yield
    finally:
        os.close(module)


def _start_full(tmux: Any, argv: list[str], columns: int, rows: int) -> None:
    """A sandbox with 7 free slots. Where somebody else's full sandbox is in the way it waits until that is gone."""
    end = time.monotonic() + FULL_S
    while True:
        tmux.start([*argv, "--sandbox", "--free", "7"], columns, rows)
        if tmux.wait_for_any(" 7 free", "Another sandbox", deadline=FULL_S) == " 7 free":
            return
        tmux.kill()
        assert time.monotonic() < end, "another sandbox on this machine stayed full"


def _limit() -> int:
    return int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())


def _quit(tmux: Any, key: str = "q") -> None:
    """Leave by a key: what stood on the screen before is there again, the exit code is 0, no mode is left."""
    pid = tmux.pane_pid()
    children = [p for p in descendants(pid) if p != pid]
    tmux.keys(key)
    screen = tmux.wait_for("before the program", "exit code 0")
    assert screen.split() == ["before", "the", "program", "exit", "code", "0"]
    modes = tmux.modes()
    assert modes["alternate_on"] == "0"
    assert modes["cursor_flag"] == "1"
    assert modes["mouse_any_flag"] == "0"
    wait_until(lambda: not alive(children))
    assert alive(children) == []


# ---------------------------------------------------------------- how it ends


def _close_window(tmux: Any, _program: int) -> None:
    tmux.close_window()


def _signal(number: signal.Signals) -> Callable[[Any, int], None]:
    return lambda _tmux, program: os.kill(program, number)


ENDS: dict[str, tuple[Callable[[Any, int], None], str]] = {
    "ctrl-c": (lambda tmux, _: tmux.keys("C-c"), "exit code 0"),
    "SIGINT": (_signal(signal.SIGINT), f"exit code {128 + signal.SIGINT}"),
    "SIGTERM": (_signal(signal.SIGTERM), f"exit code {128 + signal.SIGTERM}"),
    "SIGHUP": (_signal(signal.SIGHUP), f"exit code {128 + signal.SIGHUP}"),
    "window closed": (_close_window, ""),
    "SIGKILL": (_signal(signal.SIGKILL), f"exit code {128 + signal.SIGKILL}"),
}


@pytest.mark.parametrize("how", ENDS)
def test_nothing_is_left(tmux: Any, cttui: list[str], how: str) -> None:
    with holding_a_namespace() as host:
        subprocess.run([*inside(host), "iptables", "-t", "raw", "-A", "PREROUTING", "-j", "CT"], check=True)
        before, mark = host_state(host), fresh_mark()
        tmux.start([*inside(host), "env", mark, *cttui, "--sandbox"])
        tmux.wait_for(FRESH)
        (program,) = programs_below(tmux.pane_pid())[-1:]
        assert program in marked(mark)
        end, words = ENDS[how]
        end(tmux, program)
        if words:
            screen = tmux.wait_for(words)
            assert "Traceback" not in screen
            if how != "SIGKILL":
                assert screen.split() == f"before the program {words}".split()
                assert tmux.modes()["alternate_on"] == "0"
        wait_until(lambda: not marked(mark))
        assert marked(mark) == {}
        assert host_state(host) == before


# ---------------------------------------------------------------- what goes wrong


def test_a_dead_probe_says_its_last_words_and_starts_again(tmux: Any, cttui: list[str]) -> None:
    tmux.start([*cttui, "--sandbox"])
    tmux.wait_for(FRESH)
    (probe,) = probes_below(tmux.pane_pid())[-1:]
    os.kill(probe, signal.SIGKILL)
    screen = tmux.wait_for("probe ended", "R starts")
    assert "nothing of it is left" in screen
    assert "Traceback" not in screen
    tmux.keys("R")
    tmux.wait_for(FRESH)
    tmux.keys("b")
    tmux.wait_for("raw +10", "mangle +10")
    _quit(tmux)


def test_an_ordinary_user_on_the_host_sees_counters_and_how_to_get_the_rest(tmux: Any) -> None:
    tmux.start([*command("user"), "--sandbox"])
    tmux.wait_for(FRESH)
    tmux.keys("h")
    screen = tmux.wait_for("HOST", "The flows can't be read here", "CAP_NET_ADMIN")
    assert f"/ {_limit():,}" in screen
    assert "sudo" in screen
    assert "new " not in screen.split("1 Flows")[0]  # a rate nobody may read is not shown as 0
    assert "assured –" in screen or "no entries" in screen
    assert "The rules can be read only with CAP_NET_ADMIN here" in screen
    assert "Capturing packets needs CAP_NET_RAW here" in screen
    assert "Not read yet" not in screen
    tmux.keys("h")
    tmux.wait_for("SANDBOX", FRESH)
    _quit(tmux)


def test_forbidden_namespaces_are_said(tmux: Any) -> None:
    tmux.start([*without_user_namespaces(command("user")), "--sandbox"])
    screen = tmux.wait_for("does not let ordinary users make a sandbox")
    flat = " ".join(screen.split())
    assert "user.max_user_namespaces" in flat
    assert "kernel.apparmor_restrict_unprivileged_userns" in flat
    assert "Traceback" not in screen
    _quit(tmux)


def test_a_kernel_without_conntrack_is_said(tmux: Any) -> None:
    tmux.start([*NO_CONNTRACK, *command("root")])
    screen = tmux.wait_for("no connection tracking", "modprobe nf_conntrack")
    assert "Traceback" not in screen
    _quit(tmux)


def test_missing_firewall_tools_are_said(tmux: Any) -> None:
    tmux.start([*NO_FIREWALL_TOOLS, *command("root"), "--sandbox"])
    screen = tmux.wait_for("Conntrack is not active", "iptables is not installed")
    assert "Install iptables." in " ".join(screen.split())
    assert "Traceback" not in screen
    _quit(tmux)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--netns", "no-such-name"), "no network namespace no-such-name"),
        (("--pid", "4194305"), "no process 4194305"),  # over PID_MAX_LIMIT
    ],
    ids=["netns", "pid"],
)
def test_unknown_targets_end_with_a_sentence(
    tmux: Any, cttui: list[str], words: tuple[str, ...], said: str
) -> None:
    tmux.start([*cttui, *words])
    screen = tmux.wait_for("exit code 2")
    assert said in " ".join(screen.split())
    assert "Traceback" not in screen


def test_small_terminal(tmux: Any) -> None:
    tmux.start([*command("root"), "--sandbox"], 38, 9)
    tmux.wait_for("too small")
    _quit(tmux)


def test_exported_sizes_do_not_overrule_the_terminal(tmux: Any) -> None:
    """A shell that exports COLUMNS and LINES says how large some window once was."""
    tmux.start(["env", "COLUMNS=33", "LINES=9", *command("root"), "--sandbox"])
    tmux.wait_for(FRESH, "3 Packets", "q quit")
    tmux.resize(160, 50)
    tmux.wait_for("5 Statistics")
    tmux.resize(80, 24)  # tmux 3.3a leaves wide lines of a grown window behind, whoever wrote them
    tmux.wait_for(FRESH, "3 Packets", "q quit")
    _quit(tmux)


def test_freeze_holds_the_picture_not_the_collection(tmux: Any, cttui: list[str]) -> None:
    tmux.start([*cttui, "--sandbox"])
    tmux.wait_for(FRESH)
    tmux.keys("Space")
    tmux.wait_for("FROZEN")
    tmux.keys("Space")
    tmux.keys("b")
    tmux.wait_for("raw +10", "SYN_SENT 10")
    assert "FROZEN" not in tmux.screen()
    _quit(tmux)


def test_host_and_sandbox_are_one_key_apart(tmux: Any) -> None:
    tmux.start(command("root"))
    tmux.wait_for("HOST", "2 Hooks")
    tmux.keys("h")
    tmux.wait_for("SANDBOX", FRESH)
    _quit(tmux)


def test_conntrack_that_nobody_switched_on_is_no_empty_table(tmux: Any) -> None:
    with holding_a_namespace() as pid:
        tmux.start([*command("root"), "--pid", str(pid)])
        screen = tmux.wait_for(f"PID {pid}", "Nothing shows that conntrack is active in this namespace")
        assert "No rule of this namespace switches conntrack on" in " ".join(screen.split())
        subprocess.run([*inside(pid), "iptables", "-t", "raw", "-A", "PREROUTING", "-j", "CT"], check=True)
        tmux.wait_for("The table is empty: no connection is tracked right now")
        _quit(tmux)


@contextlib.contextmanager
def holding_a_namespace() -> Iterator[int]:
    """The PID of a process in a network namespace of its own."""
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo ready; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        try:
            yield holder.pid
        finally:
            holder.stdin.close()


HOSTILE = "\x1b[31m[/foo]\u202eevil"


def test_hostile_text_is_shown_as_text(tmux: Any) -> None:
    """A rule's comment, a table's and an interface's name in another namespace; none of it may act."""
    with holding_a_namespace() as pid:
        for table, chain in (("raw", "PREROUTING"), ("filter", "INPUT")):
            comment = ["-m", "comment", "--comment", HOSTILE, "-j", "CT" if table == "raw" else "ACCEPT"]
            subprocess.run([*inside(pid), "iptables", "-t", table, "-A", chain, *comment], check=True)
        tmux.start([*command("root"), "--pid", str(pid)], 160, 50)
        tmux.wait_for(f"PID {pid}", "2 Hooks", "raw PREROUTING")
        tmux.keys("2", "2")  # maximised: rules are whole
        screen = tmux.wait_for("\\x1b[31m[/foo]\\u202eevil")
        assert "Traceback" not in screen
        assert "\u202e" not in screen
        assert "\x1b" not in tmux.screen()
        _quit(tmux)
