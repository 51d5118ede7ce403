"""The packet log: the newest packets, one line each, and beside each what became of it."""

import time
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from cttui.model import packet_words
from cttui.model.packet import PacketPage, PacketRow
from cttui.model.safe import clean
from cttui.ui.cells import Line, Run, clip, pad, width_of
from cttui.ui.rows import Rows

_DIRECTIONS = {"broadcast": "bcast", "multicast": "mcast"}
_LOST = ("lost", "drop", "vanish", "reject")


class PacketLog(Rows):
    """A tail of the log that stops following as soon as the person scrolls back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("F", "follow", "Follow the newest", show=False, id="packets.follow"),
        Binding("d", "delta", "Time of day or since the packet before", show=False, id="packets.delta"),
    ]

    class WindowWanted(Message):
        """The log needs packets [first, first + count), or the newest `count` (first -1)."""

        def __init__(self, log: "PacketLog", first: int, count: int) -> None:
            super().__init__()
            self.log_panel, self.first, self.count = log, first, count

    class Opened(Message):
        """Enter or a double click on a packet."""

        def __init__(self, log: "PacketLog", packet: PacketRow) -> None:
            super().__init__()
            self.log_panel, self.packet = log, packet

    class Moved(Message):
        """The cursor is on another packet (None: on none, as while following)."""

        def __init__(self, log: "PacketLog", packet: PacketRow | None) -> None:
            super().__init__()
            self.log_panel, self.packet = log, packet

    def __init__(
        self, *, heading: str = "Packets", key: str = "3", id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(heading=heading, key=key, id=id, classes=classes)
        self.page = PacketPage()
        self.following = True
        self.deltas = False
        self.filter_text = ""
        self.empty: tuple[str, ...] = ("No packets yet.",)

    @property
    def selected(self) -> PacketRow | None:
        """The packet under the cursor; while following the newest one."""
        at = self.cursor - self.page.first
        return self.page.rows[at] if 0 <= at < len(self.page.rows) else None

    def question(self) -> tuple[int, int]:
        """`first` and `count` for the next PacketView."""
        return (-1 if self.following else self.top, max(1, self.visible_rows))

    def show(self, page: PacketPage) -> None:
        """Take a page in and repaint what it changed."""
        self.page, self.total = page, page.matched
        if self.following:
            self.top = max(0, self.total - self.visible_rows)
            self.cursor = max(0, self.total - 1)
        self.settle()
        self.paint()

    def follow(self, on: bool = True) -> None:
        """Follow the newest packet, or hold the view where it is."""
        self.following = on
        if on:
            self.top = max(0, self.total - self.visible_rows)
            self.cursor = max(0, self.total - 1)
        self.post_message(self.WindowWanted(self, *self.question()))
        self.paint()
