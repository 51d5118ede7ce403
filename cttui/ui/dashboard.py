"""The dashboard: what is asked for its panels, and what an answer does to each of them."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual import events

from cttui.model.faults import Fault
from cttui.model.jobs import Job, Notice
from cttui.model.messages import Answer, Ask
from cttui.model.packet import JourneysReading, PacketPage
from cttui.model.words import counted
from cttui.ui import actions, faults
from cttui.ui.bars import Header, KeyBar, cost_words
from cttui.ui.layouts import Banner, Detail, Panels
from cttui.ui.pasts import Pasts
from cttui.ui.prose import wrap
from cttui.ui.rows import Rows
from cttui.ui.session import Phase, State
from cttui.ui.view import GROUP_ROWS, View
from cttui.ui.widgets.digits import BigDigits
from cttui.ui.widgets.flow_table import FlowTable

if TYPE_CHECKING:
    from cttui.ui.filter_bar import FilterBar


class Dashboard(Panels):
    """The panels, and what is asked and heard for them."""

    def __init__(
        self, view: View, state: State, act: Callable[[str], None], key: Callable[[str], str], pasts: Pasts
    ) -> None:
        super().__init__(state, act, key)
        self.view = view
        self.pasts = pasts
        self.notices: list[Notice] = []
        self.burst: Job | None = None
        self.journeys: JourneysReading | None = None
        """How the last traced packets ended."""
        self.tracing = False
        """A trace was armed by hand: the banner follows it."""
        self.pending = ""
        """What the banner says of settings that will be put back."""
        self._reverting = ""
        """Those settings, for when the probe's end puts them back."""
        self.trouble: Fault | None = None
        """Why the table was not filled as asked for at the start; Escape takes it away."""
        self.lean = False
        """Without history lines: for a slow line."""
        self._hurry = False
        """A key waits for rows: the next question asks for these alone."""
        self._hurried = -1
        """Number of the last question that did. Keys come while its answer is on its way, so it stays known."""
        self._whole_at = 0.0
        self.presenting = False
        self.caption = ""
        """Presenter mode: the last key pressed and what it did."""

    # ------------------------------------------------------------ asking and hearing

    def question(self, seq: int) -> Ask:
        """The question for what is on screen; where a key waits for rows, for these alone."""
        first, count, follow = self.flows.question()
        readable = self.state.welcome is None or "ctnetlink" in self.state.welcome.can
        flows = self.view.flow_view(first, count, follow) if readable else None
        recent = time.monotonic() - self._whole_at < 1 / self.state.hz  # a key held down stops nothing else
        hurry, self._hurry = self._hurry, False
        if hurry and recent and self.state.phase is Phase.LIVE:
            self._hurried = seq
            return self.view.ask(seq, flows=flows)
        groups_first, groups_count = self.groups.question()
        wide = self._layout_name in ("wide", "huge") or self.zoomed == "statistics"
        return self.view.ask(
            seq,
            flows=flows,
            groups=min(groups_count, GROUP_ROWS) if self.shown("groups") and readable else 0,
            groups_first=groups_first,
            group_sort=(self.groups.sort, self.groups.descending),
            packets=self.packets.view() if self.shown("packets") else None,
            journeys=int(self.tracing or (self.burst is not None and self.burst.kind == "fire")),
            rules=self.hooks.rules if self.shown("hooks") else 0,
            tunables=bool(self.pending),
            history=0 if self.lean else self.app.size.width // 2 if wide else 12,
        )

    def heard(self, answer: Answer, flows: bool = True) -> None:
        """Show an answer; `flows` False: its rows were asked for by a screen above."""
        if answer.seq == self._hurried:
            if answer.flows is not None and flows:
                self.flows.show(answer.flows)
                self.show_detail()
            return
        self._whole_at = time.monotonic()
        before = self.answer
        self.answer = answer
        for figure in self._figures:
            figure.show(answer.table)
        self.statistics.show(answer.table)
        if answer.table.filler:
            self.trouble = None  # it was filled after all
        page = answer.flows if flows else None
        if page is not None:  # a screen above that asks for other rows says nothing of hidden fillers
            self._say_no_groups(page.fillers_hidden)
        why = faults.why_empty(
            answer.table, self.state.welcome, filter_text=self.view.whole_filter, held=answer.table.held,
            fillers_hidden=page.fillers_hidden if page else 0, key=self._key,
            trouble=self.trouble, here=self.state.situation,
        )  # fmt: skip
        room = self.flows.size.width - 4
        self.flows.empty = ["".join(text for text, _ in line) for text in why for line in wrap(text, room)]
        self.flows.filter_text = self.groups.way = " ".join(
            x for x in (self.view.breadcrumbs, self.view.filter) if x
        )
        self.flows.filtered_in = "kernel" if answer.health.filter_in_kernel else "cttui"
        if page is not None:
            self.flows.show(page)
        elif flows:
            self.flows.paint()
        self.show_detail()
        if answer.groups and (before is None or before.groups != answer.groups):
            self.groups.show(answer.groups[0])
        no_capture = faults.cannot(self.state.welcome, "capture")
        can_switch = self.state.situation.allows(actions.BY_ID["capture"])
        switches = [f"{self._key('capture')} switches it on."] if can_switch else []
        self.packets.empty = (
            "No packets yet.",
            "The packet log is off.",
            *([no_capture] if no_capture else switches),
        )
        if self.state.recording:
            self.packets.empty = (
                "No packets up to here in the recording.",
                "The packet log was off up to here in the recording.",
            )
            self.packets.unread_words = "The packet log was not on screen when this was recorded."
        self.packets.stop_key = self._key("capture") if can_switch else ""
        if answer.packets is not None and flows:
            self.packets.show(answer.packets)
        if answer.journeys is not None:
            self.journeys = answer.journeys
        known = (
            before is not None
            and before.hooks == answer.hooks
            and before.table.active_why == answer.table.active_why
        )
        # Read once a second, asked for at every key; without its rules where it isn't shown.
        if answer.hooks is not None and not known and self.shown("hooks"):
            self.hooks.show(answer.hooks, active=answer.table.active, why=answer.table.active_why)
        self.hooks.aged(answer.health.hooks_age_s)
        self._follow_settings(answer)
        self.say()
        self.query_one(KeyBar).show(self.footer())  # by what the panels hold now
        self.tick(None)

    def _say_no_groups(self, fillers_hidden: int = 0) -> None:
        none = "Not read yet." if self.answer is None else "Nothing to group."
        if fillers_hidden:
            none = f"Nothing but {counted(fillers_hidden, 'filler')}: {self._key('fillers')} shows them."
        said = [faults.cannot(self.state.welcome, "ctnetlink") or none]
        if said != self.groups.empty:
            self.groups.empty = said
            self.groups.paint()

    @property
    def inside(self) -> bool:
        return super().inside or self.view.inside or (self.is_mounted and self.packets.narrowed)

    def show_detail(self) -> None:
        """The flow under the cursor in the detail panel, where that is on screen."""
        if not self.shown("detail"):
            return
        from cttui.ui.detail import flow_paragraphs  # not needed for the first frame

        flow = self.flows.selected
        panel = self.query_one(Detail)
        none = [("No flow under the cursor.", "muted")]
        panel.show(none if flow is None else flow_paragraphs(flow, self.pasts.past(flow.key)))

    def _follow_settings(self, answer: Answer) -> None:
        if answer.tunables is None:
            return
        due = [t for t in answer.tunables if t.reverts_to]
        self.pending = "; ".join(
            f"{t.name} goes back to {t.reverts_to} "
            + (f"in {t.reverts_in_s:.0f} s" if t.reverts_in_s is not None else "at exit")
            for t in due
        )
        self._reverting = ", ".join(f"{t.name} to {t.reverts_to}" for t in due)

    def say(self) -> None:
        """Bring the banner, and in presenter mode the big digits, up to date."""
        if self.state.phase is Phase.DEAD and self._reverting:
            # The warden does it, which outlives the probe; whether it has is for the next probe to read.
            self.pending, self._reverting = f"put back as the probe ended: {self._reverting}", ""
        lines = faults.banner(
            self.answer, self.state.welcome, self.burst, self.pending, self._key, self.trouble,
            self.journeys if self.tracing or (self.burst is not None and self.burst.kind == "fire") else None,
        )  # fmt: skip
        if self.presenting and self.caption:
            lines.insert(0, (((f" {self.caption} ", "caption"),), ()))
        self.query_one(Banner).say(lines)
        if self.presenting and self.answer is not None:
            self.query_one(BigDigits).show(faults.big_numbers(self.answer, self.burst))

    def present(self) -> None:
        """Presenter mode on or off."""
        self.presenting = not self.presenting
        self.set_class(self.presenting, "presenting")
        self.say()

    def changed(self, state: State) -> None:
        """The session is in another state."""
        other_target = state.target != self.state.target
        self.state = state
        if state.phase is Phase.OPENING:
            self.pending = self._reverting = ""
            self.burst = None  # it was another sandbox's
            self.trouble = None
        if other_target:
            self.answer = None
            self._whole_at = 0.0
            self.burst = None
            self.pending = ""
            self.trouble = None
            # Nothing of the other target may stay on screen.
            self.flows.clear()
            self.hooks.clear()
            self.packets.narrow(filter_text="", flow_key=0)
            self.packets.clear()
            self.packets.show(PacketPage())
            self.packets.unread = True
            self.journeys, self.tracing = None, False
            self.groups.clear()
            for figure in self._figures:
                figure.show(None)
            self.statistics.show(None)
        if other_target or state.phase is Phase.DEAD:
            self.say()
        self.hooks.unread = faults.cannot(state.welcome, "rules") or "Not read yet."
        self.hooks.paint()
        self._say_no_groups()
        self.query_one(Header).show(state)
        self.query_one(KeyBar).show(self.footer())
        self.settle_panels()

    def tick(self, waiting_s: float | None) -> None:
        """Once a second: say when the probe hasn't answered for a while."""
        health = self.answer.health if self.answer is not None else None
        # With events attached the rows are as old as the last event, not as the last dump; those that the
        # kernel picks out are read every second.
        fresh = health is None or health.events_attached or health.filter_in_kernel
        dump_age_s = None if health is None or fresh else health.dump_age_s
        on_host = self.state.target.kind == "host"
        cost = cost_words(health.cpu_percent) if health is not None and on_host else ""
        self.query_one(Header).show(self.state, age_s=waiting_s, dump_age_s=dump_age_s, cost=cost)

    # ------------------------------------------------------------ events

    def action_act(self, id_: str) -> None:
        """A key of ours."""
        self._act(id_)

    def on_mount(self) -> None:
        self.settle_panels()
        self.flows.focus()
        self._act("ready")

    def on_resize(self, _event: events.Resize) -> None:
        if not self.app.is_running:
            return  # it is being taken down, panels first
        self.settle_panels()
        if self.answer is not None:
            self.poke()

    def on_descendant_focus(self, _event: events.DescendantFocus) -> None:
        self.query_one(KeyBar).show(self.footer())

    def on_key_bar_pressed(self, event: KeyBar.Pressed) -> None:
        if self.typing:
            self.app.simulate_key(event.action)
        else:
            self._act(event.action)

    def on_rows_window_wanted(self, event: Rows.WindowWanted) -> None:
        if event.rows is self.flows:
            self._hurry = True
        self.poke()

    def on_flow_table_sort_wanted(self, event: FlowTable.SortWanted) -> None:
        self.view.sort, self.view.descending = event.key, event.descending
        self._act("remember")

    def on_flow_table_opened(self) -> None:
        self._act("detail")

    def on_flow_table_moved(self) -> None:
        self._act("moved")

    def on_groups_sort_wanted(self) -> None:
        self.poke()

    def on_groups_drilled(self) -> None:
        self._act("detail")

    def on_packet_log_opened(self) -> None:
        self._act("packet")

    def on_hook_path_opened(self) -> None:
        self._act("rule")

    def on_filter_bar_applied(self, event: "FilterBar.Applied") -> None:
        if event.panel == "packets":
            self._narrow_log(event.text)
            if event.done:
                self._act("packets-filtered")
                self.packets.focus()
            return
        self.filter_by(event.text)
        if event.done:
            self._act("filtered")
            self.flows.focus()

    def on_filter_bar_cancelled(self, event: "FilterBar.Cancelled") -> None:
        if event.panel == "packets":
            self._narrow_log(event.before)
            self.packets.focus()
            return
        self.filter_by(event.before)
        self.flows.focus()

    def _narrow_log(self, text: str) -> None:
        if self.packets.narrow(filter_text=text):
            self.poke()

    def filter_by(self, text: str) -> None:
        """Show only what matches; the table goes back to its top."""
        if text != self.view.filter:
            self.view.filter = text
            self.flows.clear()
            self.poke()
