"""The packet log: the newest packets, one line each, and beside each what became of it."""

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from cttui.model import packet_words
from cttui.model.packet import PacketPage, PacketRow
from cttui.model.safe import clean
from cttui.model.views import PacketView
from cttui.model.words import counted
from cttui.ui.bars import age_words
from cttui.ui.journey_text import ends_label, fate_words
from cttui.ui.lines import Line, Run, clip, clip_words, pad, spread, width_of
from cttui.ui.rows import Rows

_DIRECTIONS = {"broadcast": "bcast", "multicast": "mcast"}
_AGGREGATE_SHARE = 4
"""At most a quarter of the panel goes to the aggregate of the last second."""
_LEAST_INFO = 12
"""Cells from which on the beginning of a packet's last words says something."""


class PacketLog(Rows):
    """A tail of the log that stops following as soon as the person scrolls back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("F", "follow", "Follow the newest", show=False, id="packets.follow"),
        Binding("i", "times", "Time of day, or since the packet before", show=False, id="packets.times"),
    ]

    class Opened(Message):
        """Enter or a double click on a packet."""

        def __init__(self, panel: "PacketLog", packet: PacketRow) -> None:
            super().__init__()
            self.panel, self.packet = panel, packet

    def __init__(self, *, key: str = "3", id: str | None = None) -> None:
        super().__init__(heading="Packets", key=key, id=id)
        self.page = PacketPage()
        self.unread = True
        """Nothing is known of the log yet."""
        self.following = True
        self.time_format = "absolute"
        """`absolute` or `delta`, see packet_words.time_words."""
        self.filter_text = ""
        self.flow_key = 0
        """Only packets of this flow; 0: all."""
        self.unread_words = "Not read yet."
        self.empty: Sequence[str] = ("No packets yet.", "The packet log is off.")
        """What an empty log says while it is on, while it is off, and how it is switched on."""
        self.stop_key = ""
        """What ends a capture that has an end; "" where it can't be ended from here."""
        self._base = 0
        self._asked_top = 0
        self._came = 0
        """Packets between the last two pages."""

    # ------------------------------------------------------------ what the app asks and tells

    @property
    def selected(self) -> PacketRow | None:
        """The packet under the cursor, the newest one while following; None while its row has not arrived."""
        at = self.cursor - self.page.first
        return self.page.rows[at] if 0 <= at < len(self.page.rows) else None

    def question(self) -> tuple[int, int]:
        """`first` and `count` for the next PacketView."""
        return (-1 if self.following else self.top, max(1, self.body_height))

    def view(self) -> PacketView:
        """The question. While the log is scrolled back the window hangs on a packet, not on a row number: rows
        move up as the oldest fall out of the log.
        """
        first, count = self.question()
        anchor = 0
        if not self.following and self.page.rows:
            anchor = self.page.rows[0].seq
            first -= self.page.first
        self._asked_top = self.top
        return PacketView(
            filter=self.filter_text, flow_key=self.flow_key, first=first, count=count, anchor=anchor
        )

    def show(self, page: PacketPage) -> None:
        """Take a page in and repaint what it changed."""
        if not self.following:
            moved = self._moved_by(page)
            self.top, self.cursor, self._base = self.top + moved, self.cursor + moved, self._base + moved
        if page.total != self.page.total:
            self._came = page.total - self.page.total if self.page.total else 0
        self.page, self.total, self.unread = page, page.matched, False
        if self.following:
            self._to_end()
        self.settle()
        self.paint()

    def _moved_by(self, page: PacketPage) -> int:
        """How far the rows have moved since the page before: negative when older ones fell out."""
        before = {row.seq: at for at, row in enumerate(self.page.rows, self.page.first)}
        for at, row in enumerate(page.rows, page.first):
            if row.seq in before:
                return at - before[row.seq]
        # A jump to where nothing was known: the window begins where it was asked for, unless that is the end.
        at_the_end = page.first + len(page.rows) >= page.matched
        return 0 if at_the_end or not page.rows or not before else page.first - self._asked_top

    def narrow(self, *, filter_text: str | None = None, flow_key: int | None = None) -> bool:
        """Show only what matches; False where that is the case already."""
        wanted = (
            self.filter_text if filter_text is None else filter_text,
            self.flow_key if flow_key is None else flow_key,
        )
        if wanted == (self.filter_text, self.flow_key):
            return False
        self.filter_text, self.flow_key = wanted
        self.clear()
        return True

    @property
    def narrowed(self) -> bool:
        """Whether it shows only some packets."""
        return bool(self.filter_text or self.flow_key)

    def clear(self) -> None:
        """Forget the page; what comes next is followed."""
        self.page, self.total, self.top, self.cursor, self._base = (
            PacketPage(capturing=self.page.capturing),
            0,
            0,
            0,
            0,
        )
        self.following = True
        self.paint()

    def follow(self, on: bool = True) -> None:
        """Follow the newest packet, or hold the view where it is."""
        self.following = on
        if on:
            self._to_end()
        self.post_message(self.WindowWanted(self))
        self.paint()

    # ------------------------------------------------------------ scrolling

    def _to_end(self) -> None:
        self.top = max(0, self.total - self.visible_rows)
        self.cursor = max(0, self.total - 1)

    @property
    def visible_rows(self) -> int:
        return max(0, self.body_height - len(self._aggregate()) - self._says_left_out)

    def moved(self, by_hand: bool) -> None:
        if by_hand:
            # As in less: going back lets go of the end, reaching the last line takes hold of it again.
            self.following = self.cursor >= self.total - 1 and self.top >= self.total - self.visible_rows
            if not self.following and not self._covered(self.top):
                self.post_message(self.WindowWanted(self))

    def opened(self) -> None:
        if (packet := self.selected) is not None:
            self.post_message(self.Opened(self, packet))

    def action_follow(self) -> None:
        self.follow(not self.following)

    def action_times(self) -> None:
        self.time_format = "delta" if self.time_format == "absolute" else "absolute"
        self.paint()

    def _covered(self, top: int) -> bool:
        last = min(top + self.visible_rows, self.total)
        return self.page.first <= top and last <= self.page.first + len(self.page.rows)

    def on_resize(self, event: events.Resize) -> None:
        if self.following:
            self._to_end()
        super().on_resize(event)
        if len(self.page.rows) < min(self.visible_rows, self.total):  # frozen, nobody else would ask
            self.post_message(self.WindowWanted(self))

    # ------------------------------------------------------------ layout

    @property
    def _says_left_out(self) -> bool:
        return bool(self.page.left_out) and self.body_height > 4

    @property
    def _frequent(self) -> list[tuple[str, int]]:
        """The most frequent kinds: where every packet is of another, none is."""
        return [(text, n) for text, n in self.page.top if 100 * n >= self.page.top_of]

    def _aggregate(self) -> list[tuple[str, int]]:
        return self._frequent[: self.body_height // _AGGREGATE_SHARE] if self.following else []

    def lay_out(self, width: int, height: int) -> list[Line]:
        page = self.page
        self._say()
        lines: list[Line] = []
        if self._says_left_out:
            lines.append(((" " + clean(page.left_out), "muted"),))
        if not page.rows:
            said = self.empty[:1] if page.capturing else self.empty[1:]
            if self.unread:
                said = (self.unread_words,)
            if page.total and self.narrowed:
                said = (
                    f"None of {counted(page.kept, 'packet')} in the log {self._only()}.",
                    "Esc shows all of them.",
                )
            return lines + [
                ((" " + clip(text, width - 1), "muted" if i else ""),) for i, text in enumerate(said)
            ]
        for i, (text, packets) in enumerate(self._aggregate()):
            share = f" {100 * packets / max(1, page.top_of, packets):>4.0f}% "
            of = f"most frequent of the newest {page.top_of:,} " if not i and page.top_of else ""
            lines.append(tuple(spread([(share, "value"), (clean(text), "label")], [(of, "muted")], width)))
        room = height - len(lines)
        if self.following:
            self._base = page.first + max(0, len(page.rows) - room)
        elif self._covered(self.top):
            self._base = self.top
        else:  # rows that are here beat an empty panel until the ones asked for come
            self._base = min(max(self._base, page.first), page.first + len(page.rows) - 1)
        at = self._base - page.first
        rows = page.rows[at : at + room]
        inner = self.row_width(width)
        interfaces = min(10, max(len(row.interface) for row in page.rows))
        directions = max(len(_DIRECTIONS.get(row.direction, row.direction)) for row in page.rows)
        body = [
            self._line(
                row,
                page.rows[at + i - 1] if at + i else None,
                inner,
                (interfaces, directions),
                self._base + i,
            )
            for i, row in enumerate(rows)
        ]
        return lines + (self.scrollbar(body, width) if height > len(lines) else [])

    def _line(
        self, row: PacketRow, before: PacketRow | None, width: int, columns: tuple[int, int], at: int
    ) -> Line:
        interfaces, directions = columns
        fields = packet_words.packet_fields(
            row, time_format=self.time_format, previous_ns=before.time_ns if before else None
        )
        when = fields.time[:-3] if self.time_format == "absolute" else fields.time
        direction = _DIRECTIONS.get(fields.direction, fields.direction)
        start: list[Run] = [
            (f" {when:>12} ", "muted"),
            (pad(clean(fields.interface), interfaces) + f" {clean(direction):<{directions}} ", "label"),
        ]
        # One cell stays free beside the scroll bar or the screen's edge.
        room = width - 1 - sum(width_of(text) for text, _ in start)
        flags = f"[{fields.flags}]" if fields.flags else fields.proto
        what = ends_label(fields) if fields.source else flags
        parts = [clean(part) for part in (what, f"len {fields.length}", fields.info) if part]
        body = " ".join(parts)
        # Addresses and flags say which packet, the fate says what became of it: both before everything else.
        state = clean(row.ct_state)
        fate, fate_style = fate_words(row.fate) if row.fate else (state, "fate-passed")
        fate = _short(fate, max(12, room - width_of(what) - 2))
        end: list[Run] = [("  ", ""), (fate, fate_style)] if fate else []
        if row.fate and state and width_of(body) + width_of(fate) + width_of(state) + 4 <= room:
            end = [("  ", ""), (state, "muted"), *end]
        taken = sum(width_of(text) for text, _ in end)
        if fields.source and width_of(what) > room - taken:
            parts = [ends_label(fields, room - taken)]
        runs = [*start, (pad(_shorter(parts, room - taken), max(0, room - taken)), ""), *end, (" ", "")]
        # While following, the newest is what Enter and l act on; it is marked where they are heard.
        if at == self.cursor and (self.has_focus or not self.following):
            return self.under_cursor(runs, width)
        return tuple(runs)

    def _only(self) -> str:
        """What the log is narrowed to."""
        parts = ["is of this flow"] if self.flow_key else []
        parts += [f"matches {clean(self.filter_text)}"] if self.filter_text else []
        return " and ".join(parts)

    def _share(self) -> str:
        """How much of what came since the last reading is on screen."""
        rows = self.visible_rows
        if self.filter_text or self.flow_key or self._came <= rows or not rows:
            return f"the newest {rows}"
        among = self._came / rows
        step = 10 ** max(0, len(f"{among:.0f}") - 2)  # two digits: it is another number each time
        return f"1 in {round(among / step) * step:,.0f}" if among >= 1.5 else f"the newest {rows}"

    def _until(self) -> str:
        """When a capture with caps ends: by itself, at the cap that is met first at this rate, or by a key."""
        page = self.page
        if not page.capturing or (page.left_s is None and page.left_packets is None):
            return ""
        ends_by_packets = page.left_packets is not None and (
            page.left_s is None or page.left_packets < page.left_s * page.rate_pps
        )
        left = f"{page.left_packets:,} more" if ends_by_packets else age_words(page.left_s or 0)
        return f"on for {left}" + (f", {self.stop_key} stops" if self.stop_key else "")

    def _say(self) -> None:
        page = self.page
        shown = f"{page.matched:,}" if page.matched == page.total else f"{page.matched:,} of {page.total:,}"
        sampled = f"{page.rate_pps:,.0f} pps" if page.rate_pps else ""
        if sampled and self.following and page.top:  # more than can be read
            sampled += f", showing {self._share()}"
        held = "" if self.following else "not following, F follows"
        most = ""
        if self._frequent and self.following and not self._aggregate():
            text, packets = self._frequent[0]
            most = f"{100 * packets / max(1, page.top_of, packets):.0f}% are {clean(text)}"
        self.note(
            most,
            f"last {page.kept:,} kept" if page.kept < page.total else "",
            sampled,
            "one flow" if self.flow_key else "",
            f"filter {clean(self.filter_text)}" if self.filter_text else "",
            (clean(page.error), "level-warn"),
            (self._until(), "level-warn"),
            held,
            f"{shown} packet{'' if page.total == 1 else 's'}" if page.total else "",
            (f"DROPPED {page.dropped:,} by the ring" if page.dropped else "", "fate-lost"),
        )


def _shorter(parts: list[str], cells: int) -> str:
    """As many parts as have room: of the last one its beginning where that says something, `len 4…` does not."""
    said = clip(parts[0], cells)
    for i, part in enumerate(parts[1:], 1):
        room = cells - width_of(said) - 1
        if width_of(part) > room:
            if i < len(parts) - 1 or room < _LEAST_INFO:
                return said
            begun = clip_words(part, room)
            whole = begun.rpartition(", ")[0]  # `seq 0…` rather than `seq 0, win…`
            return f"{said} {whole}…" if whole else f"{said} {begun}"
        said += f" {part}"
    return said


def _short(fate: str, cells: int) -> str:
    """The fate in so many cells: without its reason, or without what stands in brackets, before it is cut."""
    for mark in (": ", " ["):
        if width_of(fate) > cells:
            fate = fate.partition(mark)[0]
    return clip(fate, cells)
