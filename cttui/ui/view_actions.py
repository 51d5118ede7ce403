"""Actions that only change what is looked at: filter, order, groups, columns, freezing, copying, help."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cttui.model import filters
from cttui.model.faults import Fault
from cttui.model.safe import clean
from cttui.ui import copies, faults, questions
from cttui.ui.column_chooser import ColumnChooser
from cttui.ui.dialogs import Choose, Entry, Read
from cttui.ui.filter_bar import FilterBar
from cttui.ui.layouts import PANELS
from cttui.ui.session import Phase
from cttui.ui.view import Step

if TYPE_CHECKING:
    from cttui.ui.program import Program

RATES = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Readings a second that + and − go through."""


class ViewActions:
    """Handlers by action id."""

    def __init__(self, app: "Program") -> None:
        self.app = app
        self.dashboard = app.dashboard
        self.session = app.session
        self.view = app.view
        self.memory = app.memory

    def handlers(self) -> dict[str, Callable[[], None]]:
        """Action id → what to call; ids without an entry in `actions` are messages of the widgets."""
        return {
            "poke": self.session.poke,
            "freeze": self.freeze,
            "faster": lambda: self.rate(1),
            "slower": lambda: self.rate(-1),
            "back": self.back,
            "zoom": self.dashboard.zoom,
            "next": self.app.action_focus_next,
            "previous": self.app.action_focus_previous,
            "filter": self.filter,
            "filtered": self.filtered,
            "fillers": self.fillers,
            "rule-order": self.rule_order,
            "sort": lambda: self.app.start(self.sort()),
            "group": lambda: self.app.start(self.group()),
            "columns": lambda: self.app.start(self.columns()),
            "detail": self.detail,
            "packet": self.detail,
            "rule": self.detail,
            "moved": self.moved,
            "explain": self.explain,
            "copy": lambda: self.app.start(self.copy()),
            "remember": self.remember,
            **{f"panel-{n}": (lambda p=panel: self.dashboard.go_to(p)) for n, panel in enumerate(PANELS, 1)},  # type: ignore[misc]
        }

    # ------------------------------------------------------------ time

    def freeze(self) -> None:
        """Hold the picture, or go on."""
        self.session.freeze(self.session.state.phase is not Phase.FROZEN)

    def rate(self, step: int) -> None:
        """Readings more or less often."""
        hz = self.session.state.hz
        at = min(range(len(RATES)), key=lambda i: abs(RATES[i] - hz))
        self.session.rate(RATES[min(max(at + step, 0), len(RATES) - 1)])

    # ------------------------------------------------------------ what is shown

    def back(self) -> None:
        """One step back."""
        board = self.dashboard
        if self.app.probe_actions.write_actions.reading:
            self.app.probe_actions.write_actions.stop()
        elif board.trouble is not None:
            board.trouble = None
            board.say()
            self.session.poke()
        elif board.zoomed:
            board.zoom()
        elif board.panel == "packets" and board.packets.narrow(filter_text="", flow_key=0):
            self.session.poke()
        elif self.view.leave():
            board.flows.clear()
            self.session.poke()
        elif board.tracing:
            board.tracing = False
            board.say()
        elif board.burst is not None and board.burst.state != "running":
            board.burst = None
            board.say()

    def filter(self) -> None:
        """Type a filter: for the packet log where that is in focus, else for the flows."""
        if self.dashboard.panel == "packets":
            self.dashboard.query_one(FilterBar).open(
                self.dashboard.packets.filter_text, self.memory.filters, "packets"
            )
            return
        if not self.dashboard.shown("flows"):
            self.dashboard.go_to("flows")
        self.dashboard.query_one(FilterBar).open(self.view.filter, self.memory.filters)

    def filtered(self) -> None:
        """A filter was typed to its end."""
        self.memory.add_filter(self.view.filter)
        self.app.save_memory()

    def fillers(self) -> None:
        """Show or hide what only occupies slots."""
        answer, here = self.dashboard.answer, self.session.state.situation
        if answer is not None and not answer.table.filler and not self.view.fillers:
            fill = self.app.key("tunables") if here.sandbox and not here.recording else ""
            how = f": {fill} fills the table" if fill else ""
            self.app.say(f"There are no fillers here{how}.", "warning")
            return
        self.view.fillers = not self.view.fillers
        self.dashboard.flows.clear()
        self.session.poke()

    def rule_order(self) -> None:
        """Rules by path or by rate."""
        self.view.rule_order = "hottest" if self.view.rule_order == "path" else "path"
        self.dashboard.hooks.order_by(self.view.rule_order)
        self.session.poke()

    async def sort(self) -> None:
        """Choose the order; the column in use again turns it round."""
        entries = [Entry(key, label) for key, label in filters.SORT_KEYS.items()]
        chosen = await self.app.push_screen_wait(
            Choose("Sort flows by", entries, self.view.sort, "the same again turns the order round")
        )
        if chosen is not None:
            table = self.dashboard.flows
            table.order_by(chosen, not table.descending if chosen == table.sort else True)

    async def group(self) -> None:
        """Choose by what to group: a key, or several together."""
        entries = [Entry(key, label) for key, label in filters.GROUP_KEYS.items()]
        dialog = Choose("Group flows by", entries, ",".join(self.view.group_by), several=True)
        chosen = await self.app.push_screen_wait(dialog)
        if chosen is None:
            return
        self.view.group_by = chosen.split(",")
        if not self.dashboard.shown("groups"):
            self.dashboard.go_to("groups")
        else:
            self.dashboard.groups.focus()
        self.session.poke()

    async def columns(self) -> None:
        """Choose columns, their order and widths."""
        table = self.dashboard.flows
        chosen = await self.app.push_screen_wait(
            ColumnChooser(table.available_columns(), table.columns, table.widths, table.shown_widths)
        )
        if chosen is not None:
            table.widths, table.columns = chosen.widths, chosen.columns
            self.memory.widths, self.memory.columns = table.widths, chosen.columns
            self.app.save_memory()

    def remember(self) -> None:
        """Keep the order for the next time."""
        self.memory.sort, self.memory.descending = self.view.sort, self.view.descending
        self.app.save_memory()
        self.session.poke()

    # ------------------------------------------------------------ one thing, whole

    def detail(self) -> None:
        """What is under the cursor, whole; into the group under it."""
        board = self.dashboard
        match board.panel:
            case "groups" if (row := board.groups.selected) is not None:
                keys = self.view.group_by
                label = ", ".join(f"{key} {clean(word)}" for key, word in zip(keys, row.key, strict=False))
                self.view.trail.append(Step(label, row.filter, list(keys)))
                board.flows.clear()
                if board.zoomed:
                    board.zoom()
                if board.shown("flows"):
                    board.flows.focus()
                self.session.poke()
            case "packets" if (packet := board.packets.selected) is not None:
                from cttui.ui.detail import PacketDetail

                self.app.push_screen(PacketDetail(packet))
            case "hooks" if (found := board.hooks.selected) is not None:
                from cttui.ui.detail import rule_paragraphs

                self.app.push_screen(Read("Rule", rule_paragraphs(*found)))
            case "flows" if (flow := board.flows.selected) is not None:
                from cttui.ui.detail import FlowDetail

                show = self.app.packet_actions.show_packets_of
                self.app.push_screen(FlowDetail(flow, self.app.pasts, self.app.copy_text, show))

    def moved(self) -> None:
        """The cursor is on another flow."""
        self.dashboard.show_detail()

    def explain(self) -> None:
        """What was lost, where, by which counter, what to do."""
        answer, state = self.dashboard.answer, self.session.state
        if answer is None:
            dead = state.phase is Phase.DEAD
            why = "there is no probe" if dead else "the first reading is on its way"
            self.app.push_screen(Read("Explained", [f"Nothing was looked at yet: {why}."]))
            return
        job = self.dashboard.burst
        result = job.of_packets if job is not None else None
        why_not = faults.cannot(state.welcome, "stages")
        stages = why_not or f"{self.app.key('stages')} in the hooks switches them on."
        said = questions.explanation(
            answer.table, answer.health, answer.hooks, self.dashboard.notices, result, stages,
            faults.cannot(state.welcome, "rules"),
        )  # fmt: skip
        self.app.push_screen(Read("Explained", said))

    # ------------------------------------------------------------ copying

    async def copy(self) -> None:
        """Copy what is under the cursor in one of its forms."""
        forms = copies.forms(self.dashboard)
        entries = [Entry(str(i), form.label, form.preview) for i, form in enumerate(forms)]
        entries.append(Entry("svg", "screen as SVG file", "in the present folder"))
        chosen = await self.app.push_screen_wait(Choose("Copy", entries))
        if chosen is None:
            return
        if chosen == "svg":
            self.save_picture()
            return
        form = forms[int(chosen)]
        text = form.text if form.later is None else await asyncio.to_thread(form.later)
        self.app.copy_text(text, form.label)

    def save_picture(self) -> None:
        """The screen as an SVG file in the working folder."""
        try:
            path = self.app.save_screenshot(path=str(Path.cwd()))
        except OSError as e:
            self.app.say_fault(Fault("picture", f"The picture could not be written: {e.strerror}."))
            return
        self.app.say(f"Written to {path}")
