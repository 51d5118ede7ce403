"""What the program remembers by itself: columns, their widths, sort, filters typed, bursts saved by name.

`$XDG_STATE_HOME/cttui/state.json`, apart from the configuration, which only the person writes.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec

MOST_FILTERS = 50


class SavedBurst(msgspec.Struct, frozen=True):
    """A burst kept by name; `line` is scapy's notation."""

    line: str
    count: int = 10
    rate_pps: float = 100.0
    seed: int = 0


class Memory(msgspec.Struct):
    """Everything remembered. Empty values mean: nothing chosen yet."""

    columns: list[str] = []
    sort: str = ""
    descending: bool = True
    theme: str = ""
    filters: list[str] = []
    bursts: dict[str, SavedBurst] = {}
    widths: dict[str, int] = {}
    """Column id → cells, of those set by hand."""

    def add_filter(self, text: str) -> None:
        """Put a filter first in the history, once."""
        if text:
            self.filters = [text, *(f for f in self.filters if f != text)][:MOST_FILTERS]


def usual_path() -> Path:
    """Where it is kept (XDG base directory specification)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path("~/.local/state").expanduser()) / "cttui/state.json"


def load(path: Path) -> Memory:
    """What was remembered; a missing or unreadable file is an empty memory, for nothing in it is needed."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Memory)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return Memory()


def save(memory: Memory, path: Path) -> bool:
    """Write it in one step, so that two programs never leave half a file. False where that can't be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=".state")
    except OSError:
        return False
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(memory), indent=1))
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        return False
    return True
