"""The set-up asks only where somebody can answer, and says the exact command where it may not install."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to hide a program in a mount namespace")

# tcpdump is hidden in a mount namespace of the test's own; apt-get and id are stand-ins that are found first.
HIDE = 'mount --bind /dev/null "$(readlink -f "$(command -v tcpdump)")"; exec "$@"'
APT = '#!/bin/sh\necho "apt-get $*" >>"$RECORD"\n'


@pytest.fixture
def box(tmp_path: Path) -> dict[str, str]:
    """An environment in which apt-get writes down what it was asked for."""
    for name, text in (("apt-get", APT), ("id", '#!/bin/sh\necho "$FAKE_ID"\n')):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
    clean = {k: v for k, v in os.environ.items() if k != "CI"}
    path_ = f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"
    return {**clean, "PATH": path_, "RECORD": str(tmp_path / "record"), "FAKE_ID": "0"}


def argv() -> list[str]:
    return [
        "unshare",
        "--mount",
        "sh",
        "-ec",
        HIDE,
        "sh",
        "sh",
        str(ROOT / "tools" / "system-packages"),
        "run",
    ]


def asked_for(box: dict[str, str]) -> str:
    record = Path(box["RECORD"])
    return record.read_text() if record.exists() else ""


def without_terminal(box: dict[str, str]) -> str:
    done = subprocess.run(
        argv(), env=box, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def in_terminal(box: dict[str, str], answer: bytes) -> str:
    """What is said on a terminal, where `answer` is typed ahead."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(argv(), env=box, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, answer)
        said = b""
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            said += data
        process.wait(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    return said.decode()


def test_unasked_without_a_terminal(box: dict[str, str]) -> None:
    assert "Install" not in without_terminal(box)
    assert "install -y -qq --no-install-recommends tcpdump" in asked_for(box)


def test_unasked_where_ci_is_set(box: dict[str, str]) -> None:
    assert "[Y/n]" not in in_terminal({**box, "CI": "true"}, b"")
    assert "tcpdump" in asked_for(box)


@pytest.mark.parametrize(
    ("answer", "installs"), [(b"\n", True), (b"y\n", True), (b"n\n", False), (b"No\n", False)]
)
def test_asked_in_a_terminal(box: dict[str, str], answer: bytes, installs: bool) -> None:
    assert "cttui needs tcpdump. Install with apt-get? [Y/n]" in in_terminal(box, answer)
    assert ("tcpdump" in asked_for(box)) is installs


def test_an_ordinary_user_gets_the_command(box: dict[str, str]) -> None:
    assert "sudo apt-get install tcpdump" in without_terminal({**box, "FAKE_ID": "1000"})
    assert asked_for(box) == ""
