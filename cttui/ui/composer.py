"""The burst composer: presets, one line in scapy's notation, and every header field as a line of its own.

The line is the burst; presets write it, the form reads it and writes it back.
"""

import asyncio
from dataclasses import replace
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from cttui.client.memory import Memory, SavedBurst
from cttui.lab.form import NETWORKS, TRANSPORTS, Fields, from_notation, to_notation
from cttui.lab.layers import ComposeError
from cttui.lab.notation import parse
from cttui.lab.presets import PRESETS
from cttui.lab.summary import describe
from cttui.ui.burst import RANDOM, Burst, built, checked
from cttui.ui.burst_form import Form
from cttui.ui.dialogs import Ask, Button, Buttons, Choose, Dialog, Entry, Menu
from cttui.ui.fields import Field, Label, Says, pointed
from cttui.ui.lines import width_of
from cttui.ui.numbers import whole

HINTS = {
    "line": "as in scapy; (10000,10009) is a range, [53,443] a list, RandIP() and RandShort() something else each time",
    "form": "Enter changes a field. In grey: what the packet has where the line leaves it out.",
    "count": "packets, or seconds: 10s",
    "rate": "packets a second; 0: as fast as possible",
    "seed": "a whole number repeats the burst exactly; random: other packets each time",
}

UNREADABLE = "The fields come back once the line is right."
ROOMY = 170
"""Columns from which on what each preset is stands beside its name."""


def _count(text: str, pps: float) -> tuple[int, str]:
    """Packets, given as such or as the seconds they take; what is wrong with it, or ""."""
    number = text.removesuffix("s").strip()
    if number != text:
        if pps == 0:
            return 0, "count: seconds need a rate; at full speed give the number of packets"
        try:
            count = round(float(number) * pps)
        except (ValueError, OverflowError):
            return 0, f"count: {HINTS['count']}"
    else:
        count = whole(text) or 0
    return count, "" if 1 <= count <= 100_000_000 else "count: a whole number from 1 to 100,000,000, or 10s"


def _seed_words(seed: int) -> str:
    return "random" if seed == RANDOM else str(seed)


class Composer(Dialog[Burst | None]):
    """Left with the burst to fire, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save by name", show=False, priority=True),
        Binding("f5", "fire", "Fire", show=False, priority=True),
        Binding("delete", "forget", "Forget a saved burst", show=False),
        Binding("down", "presets", "To the presets", show=False),
    ]
    DEFAULT_CSS = """
    Composer Horizontal.line { height: 1; }
    Composer #count, Composer #rate, Composer #seed { width: 12; margin-right: 2; }
    Composer #what { height: 2; }
    Composer #choices { height: 1fr; margin-top: 1; }
    Composer #presets { width: 18; height: 1fr; }
    Composer.roomy #presets { width: 110; }
    Composer #about { height: 2; margin-top: 1; }
    Composer #form { width: 1fr; height: 1fr; margin-left: 1; }
    """

    def __init__(self, burst: Burst, memory: Memory) -> None:
        super().__init__()
        self._burst = burst
        self._memory = memory
        self._words: dict[str, str] = {}
        """By entry of the list: what it is."""
        self._checked = burst.line
        self._wrong: ComposeError | None = None
        """What is wrong with the line that was checked last."""

    def compose(self) -> ComposeResult:
        b = self._burst
        with Vertical(classes="dialog wide tall") as box:
            box.border_title = "Compose a burst"
            with Horizontal(classes="line"):
                yield Label("line  ")
                yield Field(b.line, id="line")
            yield Says(id="what")
            with Horizontal(classes="line"):
                yield Label("count ")
                yield Field(str(b.count), id="count")
                yield Label("a second (0: full speed) ")
                yield Field(f"{b.rate_pps:g}", id="rate")
                yield Label("seed ")
                yield Field(_seed_words(b.seed), id="seed")
            with Horizontal(id="choices"):
                yield Menu(self._entries(), marks=False, id="presets")
                yield Form()
            yield Says(id="about")
            yield Buttons([])  # once it has been read

    def _buttons(self) -> list[Button]:
        """Enter fires from a field; in the lists it means their line. What is wrong can't be fired or saved."""
        here = self.focused.id or "" if self.focused is not None else ""
        form = self.query_one(Form)
        means = {"presets": "take", "form": "change" if form.fields is not None else ""}.get(here)
        right = self._read()[0] is not None
        open_ = [Button("open", "Enter", means)] if means else []
        fire = [Button("fire", "Enter" if means is None else "F5", "fire")] if right else []
        save = [Button("save", "Ctrl+S", "save by name")] if right else []
        return [*open_, *fire, Button("", "Tab", "next"), *save, Button("esc", "Esc", "close")]

    def _entries(self) -> list[Entry]:
        """Bursts to start from, with what they are where there is room to say it of all of them."""
        saved = [
            Entry(f"saved:{name}", name, f"yours: {burst.sentence} (Del forgets it)")
            for name, b in sorted(self._memory.bursts.items())
            for burst in (Burst(b.line, b.count, b.rate_pps, b.seed),)
        ]
        entries = saved + [Entry(f"preset:{p.name}", p.name, p.summary) for p in PRESETS]
        self._words = {entry.id: entry.help for entry in entries}
        return entries if self.has_class("roomy") else [replace(entry, help="") for entry in entries]

    def on_mount(self) -> None:
        self.query_one("#line", Field).focus()
        self.query_one("#presets", Menu).pointed = self._hint
        self.watch(self.query_one("#line", Field), "scroll_x", self._say, init=False)
        self._say()
        self._check()

    def on_resize(self) -> None:
        self.set_class(self.app.size.width >= ROOMY, "roomy")
        self.query_one("#presets", Menu).show(self._entries())
        self.call_after_refresh(self._say)  # its ^ stands in a line of this width

    # ------------------------------------------------------------ reading what stands there

    def _value(self, id_: str) -> str:
        return self.query_one(f"#{id_}", Field).value.strip()

    def _read(self) -> tuple[Burst | None, str]:
        """The burst, or what is wrong with it."""
        line = self._value("line")
        if self._wrong is not None and self._line == self._checked:
            return None, self._wrong.message
        try:
            pps = float(self._value("rate") or "0")
        except ValueError:
            return None, "a second: a number; 0 is as fast as possible"
        if not 0 <= pps < 1e9:
            return None, "a second: 0 (as fast as possible) or a positive number"
        count, problem = _count(self._value("count"), pps)
        words = self._value("seed") or "0"
        seed = RANDOM if words == "random" else whole(words)
        if seed is None or seed >= 1 << 63:
            problem = problem or f"seed: {HINTS['seed']}"
        if seed is None or problem:
            return None, problem
        return Burst(line, count, pps, seed), ""

    @property
    def _line(self) -> str:
        """As it stands in its field: columns of errors count from its beginning."""
        return self.query_one("#line", Field).value

    def _judge(self) -> None:
        """Say what the burst is, or what is wrong with it: of a new line once it is checked."""
        if self._line == self._checked:
            self._say()
            return
        try:
            parse(self._line)
        except ComposeError as e:
            self._found(self._line, e)
        else:
            self._check()

    # Not a coroutine for run_worker: where the next letter cancels its worker early, nobody would await it.
    @work(exclusive=True, group="check")
    async def _check(self) -> None:
        """Have scapy's fields look at the line: milliseconds, but for its import."""
        line = self._line
        try:
            await asyncio.to_thread(checked, line)
        except ComposeError as e:
            self._found(line, e)
        else:
            self._found(line, None)

    def _found(self, line: str, wrong: ComposeError | None) -> None:
        if line == self._line:
            self._checked, self._wrong = line, wrong
            self._say()

    def _say(self) -> None:
        burst, problem = self._read()
        what, form = self.query_one("#what", Says), self.query_one(Form)
        wrong = self._wrong if self._line == self._checked else None
        if burst is not None:
            what.say(describe(burst.line, burst.count, burst.rate_pps))
        elif wrong is not None:
            field = self.query_one("#line", Field)
            at = width_of(self._line[: wrong.column]) - int(field.scroll_x)
            inside = 0 <= at < field.size.width
            what.say(
                pointed(problem, field.region.x - what.region.x + at if inside else -1, what.size.width),
                "error-text",
            )
        else:
            what.say(problem, "error-text")
        try:
            form.show(None, UNREADABLE) if wrong is not None else form.show(from_notation(self._line))
        except ComposeError as e:
            form.show(None, e.message)
        self.query_one(Buttons).show(self._buttons())

    def _hint(self) -> None:
        """What can be done where the focus is; of a preset, what it is."""
        here = self.focused.id or "" if self.focused is not None else ""
        entry = self.query_one("#presets", Menu).current
        of_preset = self._words.get(entry.id, "") if entry is not None and here == "presets" else ""
        self.query_one("#about", Says).say(of_preset or HINTS.get(here, ""))

    def on_descendant_focus(self) -> None:
        self._hint()
        self.query_one(Buttons).show(self._buttons())

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._judge()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_fire()

    # ------------------------------------------------------------ choosing and editing

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        kind, _, name = event.entry.partition(":")
        if kind == "saved":
            saved = self._memory.bursts[name]
            self._take(saved.line, saved.count, saved.rate_pps, saved.seed)
        else:
            p = next(p for p in PRESETS if p.name == name)
            self._take(p.notation, p.count, p.rate_pps, p.seed)

    def _take(self, line: str, count: int, rate: float, seed: int) -> None:
        for id_, value in (
            ("line", line),
            ("count", str(count)),
            ("rate", f"{rate:g}"),
            ("seed", _seed_words(seed)),
        ):
            self.query_one(f"#{id_}", Field).value = value
        self._judge()

    def action_presets(self) -> None:
        """Down from a field: what one may start from."""
        self.set_focus(self.query_one("#presets", Menu))

    def action_forget(self) -> None:
        """Forget the saved burst under the cursor."""
        menu = self.query_one("#presets", Menu)
        kind, _, name = menu.current.id.partition(":") if menu.current is not None else ("", "", "")
        if kind == "saved":
            del self._memory.bursts[name]
            menu.show(self._entries())

    def on_form_edit(self, event: Form.Edit) -> None:
        self.run_worker(self._edit(event), exclusive=True)

    async def _edit(self, event: Form.Edit) -> None:
        form = self.query_one(Form)
        fields = form.fields
        if fields is None:
            return
        if not event.layer and event.name in ("network", "transport"):
            names = NETWORKS if event.name == "network" else TRANSPORTS
            entries = [Entry(name, name or "none") for name in names]
            chosen = await self.app.push_screen_wait(
                Choose(event.label, entries, getattr(fields, event.name))
            )
            if chosen is not None:
                setattr(fields, event.name, chosen)
                self._write(fields)
            return
        # From here on scapy is there: looking at a field is a matter of a few milliseconds.
        await asyncio.to_thread(checked, to_notation(fields))
        new = await self.app.push_screen_wait(
            Ask(event.label, [event.hint, ""], event.value, lambda text: self._try(fields, event, text))
        )
        if new is not None:
            self._set(fields, event, new)
            self._write(fields)

    def _set(self, fields: Fields, event: Form.Edit, text: str) -> None:
        if event.layer:
            fields.values[f"{event.layer}.{event.name}"] = text.strip()
        elif event.name == "payload":
            fields.payload = text
        else:
            fields.fragment = whole(text) or 0

    def _try(self, fields: Fields, event: Form.Edit, text: str) -> str:
        attempt = Fields(
            fields.network, fields.transport, dict(fields.values), fields.payload, fields.fragment
        )
        self._set(attempt, event, text)
        if event.name == "fragment" and text.strip() and not whole(text):
            return "A whole number from 8 to 65528."
        try:
            checked(to_notation(attempt))
        except ComposeError as e:
            return e.message
        return ""

    def _write(self, fields: Fields) -> None:
        try:
            self.query_one("#line", Field).value = to_notation(fields)
        except ComposeError as e:
            self.query_one("#what", Says).say(e.message, "error-text")

    # ------------------------------------------------------------ leaving

    def action_fire(self) -> None:
        """Fire what stands there."""
        burst, _ = self._read()
        if burst is None:
            self.app.bell()
            return
        self.run_worker(self._compile(burst), exclusive=True)

    async def _compile(self, burst: Burst) -> None:
        """Build the bytes before leaving: what scapy refuses is said here, beside the line."""
        self.query_one("#what", Says).say("building the packets…")
        try:
            await asyncio.to_thread(built, burst.line, burst.count)
        except ComposeError as e:
            self._found(self._line, e)
            return
        self.dismiss(burst)

    async def _save(self, burst: Burst) -> None:
        def check(name: str) -> str:
            return (
                ""
                if name.strip() and len(name) <= 40 and name.isprintable()
                else "A name of up to 40 characters."
            )

        name = await self.app.push_screen_wait(Ask("Save this burst as", [burst.sentence, ""], "", check))
        if name is not None:
            self._memory.bursts[name.strip()] = SavedBurst(
                burst.line, burst.count, burst.rate_pps, burst.seed
            )
            self.query_one(Menu).show(self._entries())

    def action_save(self) -> None:
        """Keep it by name."""
        burst, _ = self._read()
        if burst is not None:
            self.run_worker(self._save(burst), exclusive=True)
        else:
            self.app.bell()

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        match event.button:
            case "fire":
                self.action_fire()
            case "open" if isinstance(self.focused, Menu | Form):
                self.focused.opened()
            case "save":
                self.action_save()
            case "esc":
                self.dismiss(None)
