"""What the table holds: protocols, states, and what may be evicted."""

from cttui.model.table import TableReading
from cttui.ui.lines import Line, Run, spread
from cttui.ui.widgets.table_line import TableLine


class Breakdown(TableLine):
    """What is in the table: by protocol, by state, ASSURED against evictable, in one line."""

    def lay_out(self, width: int, height: int) -> list[Line]:
        if self.reading is None:
            return []
        return [self._line(self.reading, width)]

    def _line(self, reading: TableReading, width: int) -> Line:
        protocols = sorted(reading.by_protocol.items(), key=lambda item: -item[1])
        states = sorted(reading.by_state.items(), key=lambda item: -item[1])
        # Entries, but none of them read: there is no privilege, or the first dump is on its way.
        unread = not protocols and reading.count != 0
        assured, evictable = ("–", "–") if unread else (f"{reading.assured:,}", f"{reading.evictable:,}")
        right: list[Run] = [
            ("  assured ", "label"), (assured, "value"),
            ("  evictable ", "label"), (evictable, "level-warn" if reading.evictable else "value"), (" ", ""),
        ]  # fmt: skip
        left: list[Run] = [(" ", "")]
        for name, count in protocols:
            left += [(name, "label"), (f" {count:,} · ", "value")]
        for name, count in states:
            left += [(name, _state(name)), (f" {count:,} · ", "value")]
        if len(left) == 1:
            left += [("protocols and states not read" if unread else "no entries", "muted")]
        else:
            left[-1] = (left[-1][0].removesuffix(" · "), "value")
        return tuple(spread(left, right, width))


def _state(name: str) -> str:
    if name == "ESTABLISHED":
        return "state-established"
    if name.startswith(("SYN", "COOKIE", "HEARTBEAT")):
        return "state-opening"
    return "state-closed" if name in ("CLOSE", "CLOSED", "NONE") else "state-closing"
