"""OSC 52 and its wrappings, decoded as the terminal at the other end would."""

import base64
import re
import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cttui.ui import clipboard

OSC = re.compile(r"\x1b\]52;c;([A-Za-z0-9+/=]*)\a")


def decoded(sequence: str) -> str:
    found = OSC.fullmatch(sequence)
    assert found is not None
    return base64.b64decode(found[1]).decode()


@given(st.text(max_size=3000).filter(lambda s: s.isprintable()))
def test_plain(text: str) -> None:
    assert decoded(clipboard.sequences(text, {"TERM": "xterm-256color"})) == text


def test_tmux_gets_it_plain_and_wrapped() -> None:
    sequence = clipboard.sequences("flow", {"TMUX": "/tmp/x,1,0", "TERM": "screen"})
    plain, _, wrapped = sequence.partition("\x1bPtmux;")
    assert decoded(plain) == "flow"
    assert wrapped.endswith("\x1b\\")
    assert decoded(wrapped.removesuffix("\x1b\\").replace("\x1b\x1b", "\x1b")) == "flow"


def test_screen_gets_it_in_pieces() -> None:
    text = "x" * 5000
    sequence = clipboard.sequences(text, {"STY": "1.tty", "TERM": "xterm"})
    pieces = re.findall(r"\x1bP(.*?)\x1b\\", sequence, re.DOTALL)
    assert all(len(piece) <= clipboard.SCREEN_CHUNK for piece in pieces)
    assert decoded("".join(pieces)) == text


@pytest.mark.parametrize(
    ("environ", "is_local"),
    [
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, False),
        ({"DISPLAY": ":10", "SSH_TTY": "/dev/pts/1"}, False),
        ({}, False),
    ],
)
def test_where_the_desktop_is(environ: dict[str, str], is_local: bool) -> None:
    assert clipboard.local(environ) is is_local


def test_the_message_says_no_more_than_is_known() -> None:
    written: list[str] = []
    copied = clipboard.copy("flow", written.append, {"SSH_TTY": "/dev/pts/1"})
    assert copied == "sent to the terminal"
    assert decoded("".join(written)) == "flow"
    long = clipboard.copy("x" * 90_000, written.append, {"SSH_TTY": "/dev/pts/1"})
    assert "long" in long


def _pyperclip(monkeypatch: pytest.MonkeyPatch, works: bool) -> list[str]:
    got: list[str] = []
    module = ModuleType("pyperclip")

    class PyperclipException(RuntimeError):
        pass

    def copy(text: str) -> None:
        if not works:
            raise PyperclipException("no xclip")
        got.append(text)

    module.PyperclipException = PyperclipException  # type: ignore[attr-defined]
    module.copy = copy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyperclip", module)
    return got


def test_a_local_session_gets_both(monkeypatch: pytest.MonkeyPatch) -> None:
    got = _pyperclip(monkeypatch, works=True)
    written: list[str] = []
    copied = clipboard.copy("flow", written.append, {"DISPLAY": ":0"})
    assert copied == "copied" and got == ["flow"] and decoded("".join(written)) == "flow"


def test_a_desktop_without_a_helper_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    _pyperclip(monkeypatch, works=False)
    copied = clipboard.copy("flow", lambda _s: None, {"DISPLAY": ":0"})
    assert copied == "sent to the terminal"
