"""The kernel's settings: read, changed behind a question, kept or undone; in a sandbox the free slots too."""

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from cttui.model.actions import Action, Keep, Set, Undo, Unfill
from cttui.model.faults import Fault, FaultError
from cttui.model.jobs import Job
from cttui.model.messages import Answer
from cttui.model.safe import clean
from cttui.model.table import TableReading
from cttui.model.tunables import Tunable
from cttui.ui import questions
from cttui.ui.cells import Cells
from cttui.ui.dialogs import Ask, Button, Buttons, Confirm, Dialog
from cttui.ui.fields import Says
from cttui.ui.lines import Line, pad
from cttui.ui.numbers import whole
from cttui.ui.prose import wrap
from cttui.ui.rows import Rows

FREE = "free slots"
KEEP_S = 60.0


class TunableTable(Rows):
    """One line a setting: name, value, what reverts it, whom it concerns."""

    DEFAULT_CSS = "TunableTable { height: 1fr; min-height: 4; }"
    header_lines = 1

    def __init__(self, chosen: Callable[[str], None], pointed: Callable[[str], None]) -> None:
        super().__init__()
        self.tunables: list[Tunable] = []
        self.free: str | None = None
        self._chosen = chosen
        self._pointed = pointed

    def show(self, tunables: list[Tunable], free: str | None) -> None:
        """`free` is what the first line says of the free slots, None where they can't be set."""
        self.tunables, self.free = tunables, free
        self.total = len(tunables) + (free is not None)
        self.settle()
        self.paint()

    @property
    def current(self) -> str:
        """Name under the cursor."""
        at = self.cursor - (self.free is not None)
        if at < 0:
            return FREE if self.free is not None else ""
        return self.tunables[at].name if at < len(self.tunables) else ""

    def tunable(self, name: str) -> Tunable | None:
        """By name."""
        return next((t for t in self.tunables if t.name == name), None)

    def lay_out(self, width: int, height: int) -> list[Line]:
        name_w = max([len(t.name) for t in self.tunables] + [len(FREE)])
        head = f"  {pad('setting', name_w)}  {pad('value', 12, right=True)}  may be written?"
        lines: list[Line] = [((pad(head, width), "header"),)]
        if not self.tunables:
            return [*lines, (("  Not read yet.", "muted"),)]
        rows: list[tuple[str, str, str, str]] = []
        if self.free is not None:
            rows.append((FREE, self.free, "yes: fills up the rest", ""))
        for t in self.tunables:
            says = "yes" if t.writable else "no: machine-wide" if t.scope == "machine" else "no"
            style = ""
            if t.reverts_to:
                when = f"in {t.reverts_in_s:.0f} s" if t.reverts_in_s is not None else "at exit"
                says, style = f"back to {_figure(t.reverts_to)} {when}", "level-warn"
            elif t.writable and t.scope == "machine":
                says = "yes: machine-wide"
            rows.append((t.name, _figure(t.value), says, style))
        for i, (name, value, says, style) in enumerate(
            rows[self.top : self.top + self.visible_rows], self.top
        ):
            here = "cursor" if i == self.cursor else ""
            text = f"{'▸' if here else ' '} {pad(name, name_w)}  {pad(value, 12, right=True)}  "
            lines.append(((text, here), (pad(says, max(0, width - len(text))), here or style or "muted")))
        return lines

    def moved(self, by_hand: bool) -> None:
        self._pointed(self.current)

    def opened(self) -> None:
        self._chosen(self.current)


CHANGE, CLOSE = Button("enter", "Enter", "change"), Button("", "Esc", "close")
KEEP, UNDO = Button("keep", "K", "keep"), Button("undo", "U", "undo")
"""Of a setting that goes back by itself."""


class Tunables(Dialog[None]):
    """The settings of the target on screen. `do` sends an action, `fill_to` leaves free slots; both raise
    FaultError where that is refused."""

    DEFAULT_CSS = "Tunables #said { height: 2; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("K", "keep", "Keep", show=False),
        Binding("u,U", "undo", "Undo", show=False),
        Binding("t", "dismiss_none", "Close", show=False),
    ]

    def __init__(
        self,
        do: Callable[[Action], Awaitable[int]],
        fill_to: Callable[[int], Awaitable[int]],
        *,
        sandbox: bool,
        can_fill: bool,
    ) -> None:
        super().__init__()
        self._do, self._fill_to = do, fill_to
        self._sandbox = sandbox
        self._can_fill = can_fill
        self._table = TableReading(count=None, maximum=None, buckets=None, active=None)
        self._job = 0

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide tall") as box:
            box.border_title = "Settings of this sandbox" if self._sandbox else "Settings of this host"
            yield TunableTable(self._chosen, self._pointed)
            yield Help()
            yield Says(id="said")
            yield Buttons([CLOSE])

    # ------------------------------------------------------------ asking

    def amend(self, ask: object) -> object:
        """The dashboard's question, with the settings too."""
        import msgspec

        return msgspec.structs.replace(ask, tunables=True)  # type: ignore[type-var]

    def heard(self, answer: Answer) -> None:
        """Show what the answer says of the settings and of the fill that runs."""
        self._table = answer.table
        if answer.tunables is not None:
            self.query_one(TunableTable).show(answer.tunables, self._free_words() if self._can_fill else None)
            self._pointed(self.query_one(TunableTable).current)
        for job in answer.jobs:
            if job.id == self._job:
                self._follow(job)

    def _free_words(self) -> str:
        table = self._table
        if not table.maximum or table.count is None:
            return "unlimited"
        return f"{max(0, table.maximum - table.count):,}"

    def _follow(self, job: Job) -> None:
        said = self.query_one("#said", Says)
        if job.state == "running":
            said.say(f"{job.done:,} of {job.total:,} entries…" if job.total else "working…")
            return
        self._job = 0
        if job.fault is not None:
            said.say(_sentence(job.fault), "error-text")
        else:
            answer = job.result.answer if job.result is not None else ""
            said.say(clean(answer or job.sentence or "Done."), "right")

    # ------------------------------------------------------------ changing

    def _pointed(self, name: str) -> None:
        said = questions.setting_help(name)
        tunable = self.query_one(TunableTable).tunable(name)
        if name == FREE:
            said = (
                "How many entries the sandbox's table still takes: the rest is filled with entries that match "
                "nothing. The host's limit stays as it is."
            )
        elif tunable is not None and not tunable.writable:
            said = f"{said} Not to be changed here: {clean(tunable.why)}"
        self.query_one(Help).say(said)
        change = [CHANGE] if name == FREE or (tunable is not None and tunable.writable) else []
        pending = [KEEP, UNDO] if tunable is not None and tunable.reverts_to else []
        self.query_one(Buttons).show([*change, *pending, CLOSE])

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        match event.button:
            case "enter":
                self._chosen(self.query_one(TunableTable).current)
            case "keep":
                self.run_worker(self.action_keep())
            case "undo":
                self.run_worker(self.action_undo())
            case _:
                self.dismiss(None)

    def _chosen(self, name: str) -> None:
        if name == FREE:
            self.run_worker(self._fill(), exclusive=True)
        elif name:
            self.run_worker(self._change(name), exclusive=True)

    async def _fill(self) -> None:
        limit = self._table.maximum or 0

        def check(text: str) -> str:
            text = text.strip()
            if text in ("", "none"):
                return ""
            free = whole(text)
            if free is None:
                return "A number of slots, or an empty field to take the fillers away."
            return "" if free <= limit or not limit else f"At most {limit:,}, the limit."

        wanted = await self.app.push_screen_wait(
            Ask(
                "Free slots",
                ["How many slots to leave free. An empty field takes the fillers away.", ""],
                "7",
                check,
            )
        )
        if wanted is None:
            return
        if wanted.strip() in ("", "none"):
            await self._send(Unfill())
            return
        await self._sent(self._fill_to(int(wanted)))

    async def _change(self, name: str) -> None:
        tunable = self.query_one(TunableTable).tunable(name)
        if tunable is None:
            return
        if not tunable.writable:
            self._say(Fault("not-writable", f"{name} can't be changed here: {clean(tunable.why)}"))
            return
        new = await self.app.push_screen_wait(
            Ask(
                name,
                [questions.setting_help(name), ""],
                clean(tunable.value),
                lambda t: questions.set_plan(tunable, t),
            )
        )
        if new is None:
            return
        if not self._sandbox:
            title, paragraphs = questions.set_question(tunable, new.strip(), KEEP_S, self._table.count)
            buttons = [Button("change", "y", "change it", "error-text")]
            if await self.app.push_screen_wait(Confirm(title, paragraphs, buttons, danger=True)) is None:
                return
        await self._send(Set(name=name, value=new.strip(), expected_old=tunable.value, keep_s=KEEP_S))

    async def action_keep(self) -> None:
        """Keep the changed setting under the cursor."""
        await self._send(Keep(name=self.query_one(TunableTable).current))

    async def action_undo(self) -> None:
        """Put the old value of the setting under the cursor back now."""
        await self._send(Undo(name=self.query_one(TunableTable).current))

    async def _send(self, action: Action) -> None:
        await self._sent(self._do(action))

    async def _sent(self, doing: Awaitable[int]) -> None:
        try:
            self._job = await doing
        except FaultError as e:
            self._say(e.fault)
            return
        self.query_one("#said", Says).say("working…" if self._job else "Done.", "muted")

    def _say(self, fault: Fault) -> None:
        self.query_one("#said", Says).say(_sentence(fault), "error-text")


class Help(Cells):
    """What the setting under the cursor does, in two or three lines."""

    DEFAULT_CSS = "Help { height: 3; margin-top: 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._text = ""

    def say(self, text: str) -> None:
        """Explain another one."""
        if text != self._text:
            self._text = text
            self.paint()

    def lay_out(self, width: int, height: int) -> list[Line]:
        return wrap(self._text, width, "muted")[:height]


def _figure(value: str) -> str:
    """A value as the kernel has it, grouped where it is a number."""
    return f"{int(value):,}" if value.isascii() and value.isdigit() else clean(value)


def _sentence(fault: Fault) -> str:
    return f"{clean(fault.sentence)} {clean(fault.remedy)}".rstrip()
