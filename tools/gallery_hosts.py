"""Scenes of the gallery: hosts, with and without privilege, recordings, and everything that goes wrong."""

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gallery_stage import Gallery, Scene

from cttui.client import targets
from cttui.client.options import Options
from cttui.client.targets import Target
from cttui.model.faults import Fault
from cttui.ui.fields import Field
from cttui.ui.session import Phase

RECORDINGS = Path(__file__).resolve().parents[1] / "tests" / "data"
_HOST = """
ip link set lo up
ip route add local default dev lo
iptables -A INPUT -m conntrack --ctstate INVALID -j DROP
iptables -A INPUT -i lo -p tcp --dport 22 -m comment --comment "ssh" -j ACCEPT
iptables -A INPUT -p udp --dport 5300 -j DROP
while :; do
    for i in 1 2 3 4 5 6 7 8 9; do echo x > /dev/udp/127.0.0.$i/53; echo y > /dev/udp/127.0.0.$i/5300; done
    sleep 20  # before the entries end: pictures of all themes and sizes take longer
done
"""


@contextlib.contextmanager
def _namespace(script: str, **more: object) -> Iterator[Options]:
    """Options for a host that is a namespace of our own, with rules and some traffic."""
    command = [
        "unshare",
        "--net",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "--",
        "bash",
        "-c",
        script,
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as host:
        try:
            ours = os.stat("/proc/self/ns/net").st_ino
            while os.stat(f"/proc/{host.pid}/ns/net").st_ino == ours:
                pass
            target = Target("host", "HOST", targets.host(pid=host.pid).prefix)
            yield Options(
                target=target, other_target=targets.sandbox(), theme="dark", remember=False, **more  # type: ignore[arg-type]
            )  # fmt: skip
        finally:
            host.kill()


@contextlib.contextmanager
def _with(options: Options) -> Iterator[Options]:
    yield options


def _options(target: Target, **more: object) -> Options:
    return Options(target=target, **{"theme": "dark", "remember": False, **more})  # type: ignore[arg-type]


async def _host(s: Gallery) -> None:
    await s.live()
    await asyncio.sleep(1.5)
    await s.readings(2)
    await s.picture("host")
    await s.go("3", "P")
    await s.picture("capture-form")
    await s.press("tab")
    await s.type("a-much-too-long-name")
    await s.picture("capture-form-error")
    s.app.screen.query_one("#interface", Field).value = ""
    await s.press("enter")
    await s.home()
    await s.picture("host-capturing")
    await s.go("2", "w")
    await s.picture("stages-question")
    await s.press("y")
    await s.home()
    await s.go("2", "2")
    await s.picture("host-hooks")
    await s.home()
    await s.go("J", "a")
    await s.picture("trace-form")
    await s.press("enter")
    await s.picture("trace-armed")
    await s.home()
    await s.go("d")
    await s.picture("host-delete")
    await s.home()
    await s.go("D")
    await s.picture("host-delete-all")
    await s.home()
    await s.go("t")
    await s.picture("host-tunables")
    await s.press("end", "enter")
    await s.press(*"77", "enter")
    await s.picture("host-set-question")
    await s.press("y")
    await asyncio.sleep(0.5)
    await s.readings(2)
    await s.picture("host-set-pending")
    await s.home()
    await s.picture("host-pending")
    await s.go("b")
    await s.picture("notice-sandbox-only", notice=True)


async def _quiet_host(s: Gallery) -> None:
    await s.live()
    await s.readings(2)
    await s.picture("host-inactive")
    await s.go("t", "end", "enter")
    await s.picture("read-only-tunables")
    await s.home()
    await s.go("a")
    await s.picture("notice-read-only", notice=True)


async def _unprivileged(s: Gallery) -> None:
    await s.live()
    await s.readings(2)
    await s.picture("unprivileged")
    for key, panel in (("2", "hooks"), ("3", "packets"), ("4", "groups"), ("5", "statistics")):
        await s.go(key, key)
        await s.picture(f"unprivileged-{panel}")
        await s.home()
    await s.go("t")
    await s.picture("unprivileged-tunables")
    await s.home()
    await s.go("f4")
    await s.picture("unprivileged-explain")


async def _opening(s: Gallery) -> None:
    await s.pilot.pause(0.5)
    await s.picture("opening")


async def _no_probe(s: Gallery) -> None:
    await s.until(lambda: s.app.session.state.phase is Phase.DEAD)
    await s.picture("no-probe")
    await s.go("question_mark")
    await s.picture("no-probe-help")


async def _stalled(s: Gallery) -> None:
    await s.live()
    await s.burst()
    link = s.app.session.link
    assert link is not None
    root = link._process.pid  # type: ignore[attr-defined]
    children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    probe = int(children[0]) if children else root
    os.kill(probe, signal.SIGSTOP)
    s.silent = True
    await asyncio.sleep(6.0)
    await s.picture("stalled")
    os.kill(probe, signal.SIGCONT)


async def _replay(s: Gallery) -> None:
    await s.live()
    for _ in range(30):
        s.app.session.poke()
        await s.pilot.pause(0.05)
    await s.picture("replay")
    await s.go("e")
    await s.picture("notice-replay", notice=True)


async def _sizes(s: Gallery) -> None:
    await s.burst()
    for size in ((30, 8), (50, 12), (60, 18), (100, 30), (140, 45)):
        await s.picture("other-sizes", sizes=[size])


@contextlib.contextmanager
def _ascii() -> Iterator[Options]:
    """A locale without Unicode."""
    before = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = "C"
    try:
        yield _options(targets.sandbox(), other_target=targets.host())
    finally:
        os.environ.pop("LC_ALL")
        if before is not None:
            os.environ["LC_ALL"] = before


async def _no_unicode(s: Gallery) -> None:
    await s.live()
    await s.readings(2)
    await s.burst()
    await s.picture("ascii")
    await s.go("J")
    await s.picture("ascii-journeys")
    await s.home()
    await s.go("2", "2")
    await s.picture("ascii-hooks")
    await s.home()
    await s.go("B")
    await s.picture("ascii-composer")
    await s.home()
    await s.go("f9")
    await s.picture("ascii-presenter")


@contextlib.contextmanager
def _broken_settings() -> Iterator[Options]:
    """Themes of one's own with mistakes, and one that isn't there."""
    before = os.environ.get("XDG_CONFIG_HOME")
    with tempfile.TemporaryDirectory() as folder:
        themes = Path(folder) / "cttui" / "themes"
        themes.mkdir(parents=True)
        (themes / "mine.toml").write_text('name = "mine"\nprimary = "greenish"\n')
        os.environ["XDG_CONFIG_HOME"] = folder
        try:
            yield _options(targets.sandbox(), theme="solarised")
        finally:
            os.environ.pop("XDG_CONFIG_HOME")
            if before is not None:
                os.environ["XDG_CONFIG_HOME"] = before


async def _bad_theme(s: Gallery) -> None:
    await s.live()
    await s.picture("notice-theme", notice=True)
    s.app.say_fault(
        Fault("fill-taken", "Another sandbox on this machine is full already.", "Wait until it is gone.")
    )
    await s.picture("notice-error", notice=True)


_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
SCENES = {
    "host": Scene(_host, surroundings=lambda: _namespace(_HOST)),
    "quiet-host": Scene(_quiet_host, surroundings=lambda: _namespace("sleep 1000", read_only=True)),
    "unprivileged": Scene(
        _unprivileged, surroundings=lambda: _with(_options(Target("host", "HOST", _NOBODY), other_target=targets.sandbox()))
    ),
    "opening": Scene(
        _opening, surroundings=lambda: _with(_options(Target("sandbox", "SANDBOX", ("sh", "-c", "sleep 100"))))
    ),
    "no-probe": Scene(
        _no_probe,
        surroundings=lambda: _with(_options(Target("sandbox", "SANDBOX", ("sh", "-c", "echo unshare: unshare failed: Operation not permitted >&2; exit 1")))),
    ),
    "stalled": Scene(_stalled),
    "replay": Scene(
        _replay, surroundings=lambda: _with(_options(targets.host(), replay=RECORDINGS / "full.rec"))
    ),
    "sizes": Scene(_sizes),
    "ascii": Scene(_no_unicode, surroundings=_ascii),
    "bad-theme": Scene(_bad_theme, surroundings=_broken_settings),
}  # fmt: skip
