"""How far a tale has been told: what the runner's events mean for a screen. No widgets."""

from dataclasses import dataclass, field, replace

from cttui.lab.runner import (
    CARRIED_OUT,
    Event,
    Finished,
    Moving,
    Outcome,
    Row,
    RowMeasured,
    StepDone,
    StepStarted,
    Waiting,
    predicted,
)
from cttui.lab.tale import Tale
from cttui.model.safe import clean
from cttui.ui.questions import Paragraphs
from cttui.ui.widgets.outcomes import shown

BEFORE, STARTING, RUNNING, HELD, OVER = "before", "starting", "running", "held", "over"
UNTOLD = "?"
"""In place of a prediction that a room has still to make."""


@dataclass(slots=True)
class Telling:
    """One tale on its way. `phase` is BEFORE, STARTING (a fresh sandbox), RUNNING, HELD (waits for `n`), OVER."""

    tale: Tale
    phase: str = BEFORE
    step: int = 0
    """From 1; 0 before the first."""
    moves: int = 0
    """Moves of the step that have begun."""
    waiting: str = ""
    rows: dict[int, list[Row]] = field(default_factory=dict)
    """By step: predictions at first, measurements as they come."""
    outcome: Outcome | None = None

    def __post_init__(self) -> None:
        for number, step in enumerate(self.tale.steps, 1):
            self.rows[number] = [predicted(e) for e in step.expect]

    def take(self, event: Event) -> None:
        """What an event changes."""
        self.waiting = ""
        match event:
            case StepStarted():
                self.phase, self.step, self.moves = RUNNING, event.number, 0
                self.rows[event.number] = list(event.rows)
            case Moving():
                self.moves = event.number
            case Waiting():
                self.waiting = event.words
            case RowMeasured():
                rows = self.rows[event.number]
                if event.index < len(rows):
                    rows[event.index] = event.row
                else:
                    rows.append(event.row)
            case StepDone():
                self.moves = len(self.tale.steps[event.number - 1].moves) + 1
            case Finished():
                self.phase, self.outcome = OVER, event.outcome

    @property
    def left(self) -> int:
        """Steps behind the present one."""
        return len(self.tale.steps) - self.step

    @property
    def verdict(self) -> tuple[str, str]:
        """(sentence, style) on how it ended."""
        if self.outcome is None:
            return "", ""
        if self.outcome.ok is None:
            return f"Skipped: {clean(self.outcome.skipped)}", "level-warn"
        for row in self.outcome.rows:
            if row.what == CARRIED_OUT:
                return f"✗ It could not be carried out: {clean(str(row.measured))}", "wrong"
        wrong = sum(1 for row in self.outcome.rows if row.ok is False)
        if wrong:
            n = f"{wrong} predictions" if wrong > 1 else "One prediction"
            return f"✗ {n} failed: this kernel did otherwise.", "wrong"
        return "✓ Everything as predicted.", "right"

    def caption(self) -> tuple[str, str]:
        """One line for a room, and its style: which step this is, or how it ended."""
        if self.phase == OVER:
            return self.verdict
        if self.phase == STARTING:
            return f"{self.tale.title}: a fresh sandbox…", "caption"
        if self.phase == BEFORE or not self.step:
            return self.tale.title, "caption"
        many = len(self.tale.steps)
        which = f"Step {self.step} of {many}: " if many > 1 else ""
        step = f"{which}{self.tale.steps[self.step - 1].caption}"
        return f"{step}. Predict first." if self.phase == HELD else step, "caption"

    def story(self, next_key: str, run_key: str, captioned: bool = False) -> Paragraphs:
        """What stands beside the table: the story before, the step while it runs, the explanation after.

        `captioned`: how it ended stands in the caption.
        """
        tale = self.tale
        out: Paragraphs = []
        if self.phase == OVER:
            assert self.outcome is not None
            wrong = [row for row in self.outcome.rows if row.ok is False]
            out += [] if captioned else [self.verdict]
            out += [(_otherwise(row), "wrong") for row in wrong if row.what != CARRIED_OUT]
            out += [(clean(note), "level-warn") for note in self.outcome.notes]
            out += [""] if out else []
            if self.outcome.ok is not None:
                out += [("Why that was predicted", "heading")] if wrong else []
                out += [tale.explanation, "", ("In production", "heading"), tale.production, ""]
                if tale.since_2020:
                    out += [("Since 2020", "heading"), tale.since_2020[:1].upper() + tale.since_2020[1:], ""]
        if self.phase == STARTING:
            out += [("Waiting for a fresh sandbox.", "level-warn"), ""]
        if self.phase in (BEFORE, STARTING, OVER):
            out += [("The story", "heading")]
            for paragraph in tale.story:
                out += [paragraph, ""]
        for number, step in enumerate(tale.steps, 1):
            if self.phase in (RUNNING, HELD) and number != self.step:
                continue
            head = (
                f"Step {number} of {len(tale.steps)}: {step.caption}" if len(tale.steps) > 1 else step.caption
            )
            out.append((head, "heading"))
            for at, move in enumerate(step.moves, 1):
                mark = " "
                if self.phase in (RUNNING, HELD) and self.moves:
                    mark = "✓" if at < self.moves else "▸" if at == self.moves else " "
                out += [
                    (f"  {mark} {clean(word)}", "value" if mark == "▸" else "muted") for word in move.words
                ]
        if self.waiting:
            out += ["", (f"Waiting: {clean(self.waiting)}", "level-warn")]
        if self.phase == BEFORE:
            out += ["", f"{run_key} runs it at once, {next_key} step by step: predict first."]
        elif self.phase == HELD:
            rest = f", {run_key} this one and those behind it" if self.left else ""
            out += ["", (f"{next_key} carries out this step{rest}.", "caption")]
        return out

    @property
    def at(self) -> int:
        """The line of the table to look at: the last measured, or before a step the last of its predictions."""
        at, held = 0, self.phase == HELD
        line = -1
        for number in range(1, len(self.tale.steps) + 1):
            line += len(self.tale.steps) > 1
            for row in self.rows[number]:
                line += 1
                if row.measured is not None or (held and number == self.step):
                    at = line
        return at

    def lines(self, guessing: bool = False) -> list[tuple[Row | None, str]]:
        """The table: (row, "") or (None, a step's caption). `guessing`: predictions only of steps that have begun."""
        out: list[tuple[Row | None, str]] = []
        many = len(self.tale.steps) > 1
        begun = {OVER: len(self.tale.steps), RUNNING: self.step, HELD: self.step - 1}.get(self.phase, 0)
        for number, step in enumerate(self.tale.steps, 1):
            if many:
                out.append((None, f"{number} {step.caption}"))
            untold = guessing and number > begun
            out += [(replace(row, predicted=UNTOLD) if untold else row, "") for row in self.rows[number]]
        return out


def _otherwise(row: Row) -> str:
    """A prediction that failed, and where a person reads the number: `  drop: 3 predicted, 0 measured (conntrack -S)`."""
    measured = "–" if row.measured is None else shown(row.measured)
    where = f" ({row.source})" if row.source else ""
    return f"  {clean(row.what)}: {shown(row.predicted)} predicted, {measured} measured{where}"
