"""Copying over any terminal: OSC 52 always, the desktop's clipboard too where the session is local.

OSC 52 is answered by nobody, so all that is known is that it was sent; the message says so and no more.
tmux and GNU screen keep the sequence for themselves unless it is wrapped in a DCS string (tmux(1)
`allow-passthrough`, screen(1) "\\eP").
"""

import base64
from collections.abc import Callable, Mapping

SCREEN_CHUNK = 512
"""GNU screen drops DCS strings over 768 bytes (MAXSTR): a long one goes in pieces."""
LONG = 74_994
"""Bytes of base64 that xterm and hterm take; many terminals drop longer ones without a word."""


def sequences(text: str, environ: Mapping[str, str]) -> str:
    """The escape sequences that put `text` on the clipboard of the terminal at the other end."""
    payload = base64.b64encode(text.encode()).decode("ascii")
    osc = f"\x1b]52;c;{payload}\a"
    if environ.get("TMUX"):
        # Plain for `set-clipboard on`, wrapped for `allow-passthrough on`: either may be what is set.
        return osc + "\x1bPtmux;" + osc.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if environ.get("STY") or environ.get("TERM", "").startswith("screen"):
        pieces = [osc[i : i + SCREEN_CHUNK] for i in range(0, len(osc), SCREEN_CHUNK)]
        return "".join(f"\x1bP{piece}\x1b\\" for piece in pieces)
    return osc


def local(environ: Mapping[str, str]) -> bool:
    """Whether the person sits at this machine's desktop: then pyperclip reaches their clipboard."""
    remote = environ.get("SSH_CONNECTION") or environ.get("SSH_TTY")
    return not remote and bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def copy(text: str, write: Callable[[str], None], environ: Mapping[str, str]) -> str:
    """Put `text` on the clipboard and say what is known of it.

    Blocks while a desktop helper (xclip, wl-copy) runs: call in a thread. `write` sends characters to the terminal.
    """
    write(sequences(text, environ))
    if local(environ) and _desktop(text):
        return "copied"
    if len(text.encode()) * 4 // 3 > LONG:
        return "sent to the terminal; it is long, and many terminals drop that much"
    return "sent to the terminal"


def _desktop(text: str) -> bool:
    import pyperclip

    try:
        pyperclip.copy(text)
    except (pyperclip.PyperclipException, OSError):
        return False
    return True
