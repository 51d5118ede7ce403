"""Which panels stand where at which size, which has the focus, and the two that only the dashboard has: banner, detail."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.screen import Screen

from cttui.model.messages import Answer
from cttui.ui import actions, faults, keymap
from cttui.ui.bars import Header, KeyBar
from cttui.ui.cells import Cells
from cttui.ui.lines import Line, spread
from cttui.ui.prose import Prose
from cttui.ui.rows import Rows
from cttui.ui.session import Phase, State
from cttui.ui.widgets.breakdown import Breakdown
from cttui.ui.widgets.digits import BigDigits
from cttui.ui.widgets.flow_table import FlowTable
from cttui.ui.widgets.gauge import Gauge
from cttui.ui.widgets.groups import Groups
from cttui.ui.widgets.history import Rates
from cttui.ui.widgets.hook_path import HookPath
from cttui.ui.widgets.packet_log import PacketLog
from cttui.ui.widgets.statistics import Statistics

PANELS = ("flows", "hooks", "packets", "groups", "statistics")
"""In the order of their keys 1 … 5."""
LAYOUTS: dict[str, tuple[str, ...]] = {
    "tiny": ("flows",),
    "compact": ("flows", "hooks", "packets"),
    "wide": PANELS,
    "huge": (*PANELS, "detail"),
}


def layout_for(width: int, height: int) -> str:
    """The layout that this many cells are enough for."""
    if width >= 180 and height >= 52:
        return "huge"
    if width >= 116 and height >= 34:
        return "wide"
    return "compact" if height >= 22 else "tiny"


class Banner(Cells):
    """What must not be missed: losses, pending reverts, the last burst. As many lines as it has."""

    DEFAULT_CSS = "Banner { height: auto; max-height: 3; }"

    def __init__(self) -> None:
        super().__init__(id="banner")
        self.lines: list[tuple[Line, Line]] = []

    def say(self, lines: list[tuple[Line, Line]]) -> None:
        """Say these; none: the banner takes no line."""
        if lines != self.lines:
            grown = len(lines) != len(self.lines)
            self.lines = lines
            if grown:
                self.refresh(layout=True)
            self.paint()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """Lines it has."""
        return len(self.lines)

    def lay_out(self, width: int, height: int) -> list[Line]:
        return [tuple(spread(left, right, width)) for left, right in self.lines[:height]]


class Detail(Prose):
    """The flow under the cursor, whole, where there is room for it beside the table."""

    def __init__(self) -> None:
        super().__init__([], heading="Detail", id="detail", indent=1)
        self.can_focus = True


class Panels(Screen[None]):
    """Panels by size, one in focus, perhaps one maximised. `act` carries out an action by id."""

    BINDINGS: ClassVar[list[BindingType]] = list(
        keymap.bindings(a.id for a in actions.ACTIONS if a.id not in actions.APP_IDS)
    )

    def __init__(self, state: State, act: Callable[[str], None], key: Callable[[str], str]) -> None:
        super().__init__(id="dashboard")
        self.state = state
        self._act = act
        self._key = key
        self.answer: Answer | None = None
        self.zoomed = ""
        self._touring = False
        self._layout_name = ""

    def compose(self) -> ComposeResult:
        # Before there are children whose styles would be worked out again for it.
        self._layout_name = layout_for(*self.app.size)
        self.add_class(self._layout_name)
        yield Header(self.state)
        yield Gauge(id="gauge")
        yield Rates(id="rates")
        yield Breakdown(id="breakdown")
        yield Banner()
        yield Prose([], id="fault")
        with Container(id="middle"):
            with Container(id="left"):
                yield FlowTable(id="flows")
                yield Detail()
            with Container(id="right"):
                yield Groups(id="groups")
                yield Statistics(id="statistics")
                yield HookPath(id="hooks")
        yield PacketLog(id="packets")
        yield KeyBar(self.footer)

    async def furnish(self) -> None:
        """Mount what the first frame does without."""
        from cttui.ui.filter_bar import FilterBar

        await self.mount(BigDigits(id="digits"), before="#banner")
        await self.mount(FilterBar(), before="#keybar")

    # ------------------------------------------------------------ panels

    @property
    def flows(self) -> FlowTable:
        """Panel 1."""
        return self.query_one("#flows", FlowTable)

    @property
    def hooks(self) -> HookPath:
        """Panel 2."""
        return self.query_one("#hooks", HookPath)

    @property
    def packets(self) -> PacketLog:
        """Panel 3."""
        return self.query_one("#packets", PacketLog)

    @property
    def groups(self) -> Groups:
        """Panel 4."""
        return self.query_one("#groups", Groups)

    @property
    def statistics(self) -> Statistics:
        """Panel 5."""
        return self.query_one("#statistics", Statistics)

    @property
    def panel(self) -> str:
        """Name of the panel in focus, "" where none is."""
        focused = self.focused
        return focused.id if focused is not None and focused.id in (*PANELS, "detail") else ""

    def shown(self, panel: str) -> bool:
        """Whether the panel is on screen."""
        if self._touring and self._layout_name == "compact" and panel == "packets":
            return False
        return panel == self.zoomed if self.zoomed else panel in LAYOUTS.get(self._layout_name, ())

    def tour(self, on: bool) -> None:
        """Keep flows and path clear of the tour's captions, which stand in the lowest lines."""
        self._touring = on
        self.set_class(on, "touring")
        if self.is_mounted and self.app.is_running:
            self.settle_panels()
            self.poke()

    @property
    def typing(self) -> bool:
        """Whether keys go to the filter's field."""
        return self.focused is not None and self.focused.id == "filter-field"

    def footer(self) -> list[tuple[str, str, str]]:
        """What the last line offers for the panel in focus, or while a filter is typed."""
        if self.typing:
            from cttui.ui.filter_bar import KEYS  # not needed for the first frame

            return list(KEYS)
        return actions.footer(self.panel, self.situation, self._keys())

    @property
    def situation(self) -> actions.Situation:
        """What decides which actions can work: the session's, and whether there is anything in the panels."""
        rows = {panel.id: panel.total for panel in self.query(Rows)}  # none before the first frame
        empty = frozenset(name for name in PANELS if self.shown(name) and not rows.get(name))
        return replace(self.state.situation, empty=empty, inside=self.inside)

    @property
    def inside(self) -> bool:
        """Whether one step back leads anywhere."""
        return bool(self.zoomed)

    def _keys(self) -> dict[str, str]:
        return dict(getattr(self.app, "keys", {}))

    @property
    def _figures(self) -> tuple[Gauge, Rates, Breakdown]:
        return (
            self.query_one("#gauge", Gauge),
            self.query_one("#rates", Rates),
            self.query_one("#breakdown", Breakdown),
        )

    def settle_panels(self) -> None:
        """Show the panels that the size and the maximised panel leave room for."""
        width, height = self.app.size
        name = layout_for(width, height)
        small = faults.too_small(width, height)
        dead = self.state.phase is Phase.DEAD
        opening = dead and self.answer is None
        if name != self._layout_name:
            for other in LAYOUTS:
                self.set_class(other == name, other)
            self._layout_name = name
        self.set_class(bool(self.zoomed), "zoomed")
        for panel in (*PANELS, "detail"):
            self.query_one(f"#{panel}").display = self.shown(panel) and not small and not dead
        for figure in ("gauge", "rates", "breakdown"):
            self.query_one(f"#{figure}").display = not small and not opening
        left = self.shown("flows") or self.shown("detail")
        right = any(self.shown(p) for p in ("groups", "statistics", "hooks"))
        self.query_one("#left").display = left
        self.query_one("#right").display = right
        self.query_one("#middle").display = (left or right) and not small and not dead
        fault = self.query_one("#fault", Prose)
        fault.display = bool(small) or dead
        if small:
            fault.show([(small, "level-warn")])
        elif dead and self.state.fault is not None:
            fault.show(faults.restart_words(self.state.fault, self.state.situation, self._key))
        if fault.display:
            fault.focus()
            return
        focused = self.focused
        # Not by what is on screen: under a dialog that says where panels were before the terminal was resized.
        if focused is None or not focused.display or (self.panel and not self.shown(self.panel)):
            for panel in (self.zoomed, "flows", *PANELS):
                if panel and self.shown(panel):
                    self.set_focus(self.query_one(f"#{panel}"))
                    break

    def go_to(self, panel: str) -> None:
        """Focus a panel; one that is in focus already, or has no place in this layout, is maximised."""
        if not self.shown(panel) or (self.panel == panel and not self.zoomed):
            self.zoomed = panel
        elif self.zoomed == panel and self.panel == panel:
            self.zoomed = ""
        self.settle_panels()
        if self.shown(panel):
            # At once, where a widget's own focus() waits its turn: the same key may be the next event.
            self.set_focus(self.query_one(f"#{panel}"))
        self.poke()

    def zoom(self) -> None:
        """Maximise the panel in focus, or go back to all of them."""
        self.zoomed = "" if self.zoomed else (self.panel or "flows")
        self.settle_panels()
        self.poke()

    def poke(self) -> None:
        """Have what is shown now asked for at once."""
        self._act("poke")
