"""The first and the last line of every screen: where we are, and what can be pressed."""

import time
from collections.abc import Callable

from textual.message import Message

from cttui.model.messages import Welcome
from cttui.ui.cells import Cells
from cttui.ui.lines import Line, Run, spread, width_of
from cttui.ui.offers import Offers
from cttui.ui.session import Phase, State

STALE_S = 3.0
"""From here on a probe that doesn't answer is said to."""
AGES = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Ages of the last whole dump that are said: a second hand would repaint a screen on which nothing happens."""


CPU_STEPS = (1, 3, 10, 30, 100)
"""Of the probe's share of a core, in percent: said in steps for the same reason."""


def age_words(seconds: float) -> str:
    """An age in its largest unit: `4 s`, `3 min`, `2 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5940 else f"{seconds / 3600:.0f} h"


def rate_words(hz: float) -> str:
    """`1 Hz`, `4 Hz`, or `every 10 s`."""
    return f"{hz:g} Hz" if hz >= 1 else f"every {1 / hz:.0f} s"


def header_line(
    state: State, *, width: int, frozen_at: str = "", age_s: float | None = None, dump_age_s: float | None = None,
    cost: str = "",
) -> Line:  # fmt: skip
    """Where we are on the left, how far to trust it on the right; what doesn't fit is left out from the middle."""
    welcome = state.welcome
    badge = state.target.label if welcome is None else _badge(state, welcome)
    style = {"sandbox": "badge-sandbox"}.get(state.target.kind, "badge-host")
    left: list[Run] = [(" cttui ", "heading"), (f" {badge} ", style)]
    middle: list[str] = []
    if welcome is not None:
        middle = [f"netns {welcome.netns}", f"linux {_short(welcome.kernel)}", welcome.user]
        if not welcome.writes:
            middle.append("read-only")
    right: list[Run] = []
    if state.recording:
        right.append((" RECORDING ", "badge-past"))
    if state.phase is Phase.FROZEN:
        right.append((f" FROZEN {frozen_at} ", "badge-frozen"))
    elif state.phase is Phase.DEAD:
        right.append((" NO PROBE ", "badge-alarm"))
    elif state.phase is Phase.OPENING:
        right.append((" starting… ", "muted"))
    elif age_s is not None and age_s >= STALE_S:
        right.append((f" NO ANSWER for {age_words(age_s)} ", "badge-alarm"))
    elif not state.focused:
        right.append((" unfocused: slow ", "muted"))
    else:
        if old := dump_words(dump_age_s):
            right.append((f" {old} ", "muted"))
        right.append((f" {rate_words(state.hz)} ", "muted"))
    room = width - sum(width_of(t) for t, _ in left + right)
    if cost and state.phase is Phase.LIVE and sum(len(m) + 2 for m in [*middle, cost]) <= room:
        right.insert(0, (f" {cost} ", "muted"))
    while middle and sum(len(m) + 2 for m in middle) > room:
        middle.pop(1 if len(middle) > 2 else 0)
    left += [(f" {word} ", "muted") for word in middle]
    return tuple(spread(left, right, width))


def _badge(state: State, welcome: Welcome) -> str:
    return state.target.label if state.target.label else welcome.target.upper()


def _short(kernel: str) -> str:
    return kernel if len(kernel) <= 12 else kernel.split("-", 1)[0]


def dump_words(dump_age_s: float | None) -> str:
    """How old the rows are that no event told of, in steps; "" while that is nothing to speak of."""
    reached = [age for age in AGES if dump_age_s is not None and dump_age_s >= age]
    return f"flows >{age_words(reached[-1])} old" if reached else ""


def cost_words(cpu_percent: float) -> str:
    """What the probe takes of a core, in steps."""
    step = next((step for step in CPU_STEPS if cpu_percent < step), None)
    return f"own CPU <{step} %" if step is not None else f"own CPU ≥{CPU_STEPS[-1]} %"


class Header(Cells):
    """The first line."""

    DEFAULT_CSS = "Header { height: 1; dock: top; background: $panel; }"

    def __init__(self, state: State) -> None:
        super().__init__(id="header")
        self.state = state
        self.frozen_at = ""
        self.age_s: float | None = None
        self.dump_age_s: float | None = None
        self.cost = ""

    def show(
        self, state: State, *, age_s: float | None = None, dump_age_s: float | None = None, cost: str = ""
    ) -> None:
        """What the session is doing, how old what is on screen and the last whole dump are, what we cost."""
        if state.phase is Phase.FROZEN and self.state.phase is not Phase.FROZEN:
            self.frozen_at = time.strftime("%H:%M:%S")
        self.state, self.age_s, self.dump_age_s, self.cost = state, age_s, dump_age_s, cost
        self.paint()

    def lay_out(self, width: int, height: int) -> list[Line]:
        return [
            header_line(
                self.state,
                width=width,
                frozen_at=self.frozen_at,
                age_s=self.age_s,
                dump_age_s=self.dump_age_s,
                cost=self.cost,
            )
        ]


class KeyBar(Offers):
    """The last line: keys and what they do, as many as fit; a click presses one."""

    DEFAULT_CSS = "KeyBar { height: 1; dock: bottom; background: $panel; }"

    class Pressed(Message):
        """An entry was clicked."""

        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    def __init__(self, entries: Callable[[], list[tuple[str, str, str]]] | None = None) -> None:
        super().__init__(id="keybar")
        self._entries: list[tuple[str, str, str]] = entries() if entries else []

    def show(self, entries: list[tuple[str, str, str]]) -> None:
        """(action id, key, label) in order."""
        if entries != self._entries:
            self._entries = entries
            self.paint()

    def lay_out(self, width: int, height: int) -> list[Line]:
        chosen = list(self._entries)
        # help and quit are the last to go: from the end, whatever precedes them makes room.
        while len(chosen) > 2 and sum(_entry_width(e) for e in chosen) > width:
            chosen.pop(-3)
        return [
            self.side_by_side(
                (id_, [(f" {key}", "key"), (f" {label} ", "label")]) for id_, key, label in chosen
            )
        ]

    def press(self, id_: str) -> None:
        self.post_message(self.Pressed(id_))


def _entry_width(entry: tuple[str, str, str]) -> int:
    return width_of(entry[1]) + width_of(entry[2]) + 3
