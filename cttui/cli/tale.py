"""`cttui tale`: experiments as text: list them, run them, print them as bash scripts."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

from cttui.cli import faults
from cttui.client import targets
from cttui.client.filling import Permission, Question
from cttui.client.link import Link
from cttui.lab import runner
from cttui.lab.moves import Move
from cttui.lab.runner import Finished, Moving, Outcome, Row, RowMeasured, StepStarted, Waiting
from cttui.lab.script import script as bash
from cttui.lab.tale import Tale
from cttui.lab.tales import ALL, TALES, find
from cttui.model.faults import FaultError
from cttui.model.safe import clean

RED, GREEN, BOLD, PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[1m", "\x1b[0m"
ASCII = str.maketrans(
    {
        "✓": "",
        "✗": "",
        "≥": ">=",
        "≤": "<=",
        "−": "-",
        "·": "*",
        "…": "...",
        "±": "+-",
        "–": "-",
        "→": "->",
        "─": "-",
    }
)


class _Page:
    """Text for whatever stdout is: as wide as the terminal, colours only there, ASCII where it must be."""

    def __init__(self) -> None:
        self.width = max(40, min(shutil.get_terminal_size((80, 24)).columns, 100))
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")

    def line(self, text: str = "", colour: str = "") -> None:
        """One line. Text of the kernel comes through `clean` first."""
        if not self._unicode:
            text = text.translate(ASCII).encode("ascii", "replace").decode()
        if colour and self._colour:
            text = f"{colour}{text}{PLAIN}"
        print(text, flush=True)

    def paragraph(self, text: str, indent: str = "", first: str | None = None) -> None:
        """Wrapped text."""
        head = indent if first is None else first
        for line in textwrap.wrap(
            clean(text), self.width, initial_indent=head, subsequent_indent=indent,
            break_on_hyphens=False, break_long_words=False,
        ):  # fmt: skip
            self.line(line)

    def commands(self, move: Move) -> None:
        """What a move does, as lines that can be copied: not wrapped."""
        for words in move.words:
            self.line(f"  {clean(words)}")

    def row(self, row: Row) -> None:
        """One line of the table; without a measurement only the prediction."""
        what = max(24, self.width - 34)
        cells = f"  {clean(row.what):<{what}} {_value(row.predicted):>10}"
        if row.ok is None:
            self.line(cells)
        else:
            self.line(
                f"{cells} {_value(row.measured):>10}  {'✓ ok' if row.ok else '✗ FAILED'}",
                GREEN if row.ok else RED,
            )

    def heading(self) -> None:
        """Over the table."""
        what = max(24, self.width - 34)
        self.line(f"  {'':<{what}} {'predicted':>10} {'measured':>10}")


def _value(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else clean(str(value))


class _Person:
    """Who answers questions: the terminal, if there is one; each question once, however many tales ask it."""

    def __init__(self, yes: bool) -> None:
        self._yes = yes
        self._said: dict[str, bool] = {}

    async def answer(self, question: Question) -> bool:
        """Yes or no. `--yes` says yes to what concerns the sandbox only, never to a change of the host."""
        if self._yes and not question.of_host:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        if question.title not in self._said:
            width = min(shutil.get_terminal_size((80, 24)).columns, 100)
            for paragraph in question.paragraphs:
                print(textwrap.fill(paragraph, width), file=sys.stderr)
            typed = _typed(f"{question.title} y: {question.yes}, anything else: no [y/N] ", sys.stderr)
            self._said[question.title] = typed.strip().lower() in ("y", "yes")
        return self._said[question.title]


def _typed(prompt: str, to: TextIO) -> str:
    """A line from the terminal, or "" at its end. Ctrl-C interrupts, which asyncio would put off to the next line."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(prompt, end="", file=to, flush=True)
        return sys.stdin.readline()
    finally:
        signal.signal(signal.SIGINT, before)


def run(
    names: Sequence[str],
    *,
    every: bool,
    slow: bool,
    as_json: bool,
    step: bool,
    script: bool,
    yes: bool = False,
) -> int:
    """List, run or print tales; the exit code. Raises FaultError for unknown names and where no sandbox is possible."""
    if every and names:
        raise FaultError("usage", "Either --all or names of tales.")
    if slow and not every:
        raise FaultError("usage", "--slow adds the slow tales to --all.", "A slow tale is run by its name.")
    chosen = [tale for tale in ALL if slow or not tale.slow] if every else [find(name) for name in names]
    if script:
        if len(chosen) != 1:
            raise FaultError(
                "usage", "--script prints one tale.", "cttui tale table-full --script > table-full.sh"
            )
        print(bash(chosen[0]))
        return faults.OK
    if not chosen:
        _list(as_json)
        return faults.OK
    outcomes = asyncio.run(_tell(chosen, None if as_json else _Page(), step, _Person(yes)))
    if as_json:
        print(json.dumps([outcome.as_dict() for outcome in outcomes], indent=1, ensure_ascii=False))
    if any(outcome.ok is False for outcome in outcomes):
        return faults.PREDICTION_FAILED
    # With --all a tale that this machine can't run is left out; one asked for by name is missed.
    return faults.FAULT if names and any(outcome.ok is None for outcome in outcomes) else faults.OK


def _list(as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                [{"tale": t.name, "title": t.title, "summary": t.summary, "slow": t.slow} for t in ALL],
                indent=1,
            )
        )
        return
    page = _Page()
    for tale in TALES:
        notes = " (slow)" if tale.slow else ""
        page.paragraph(tale.summary + notes, " " * 24, f"  {tale.name:<22}")
    twins = ", ".join(tale.name for tale in TALES if tale.has_twin)
    page.line()
    page.paragraph(f"Over IPv6, with -v6 after the name: {twins}.")
    page.line()
    page.paragraph(
        "`cttui tale NAME` runs one in a sandbox of its own, `--step` waits before each step, `--script` prints it as a bash script, `--all` runs all but the slow ones."
    )


async def _tell(tales: Sequence[Tale], page: _Page | None, step: bool, person: _Person) -> list[Outcome]:
    """One after another, each in a new sandbox: the next is set up while the last one goes."""
    outcomes = []
    hosts: list[Link] = []

    async def host() -> Link:
        if not hosts:
            hosts.append(await Link.open(targets.host()))
        return hosts[0]

    permission = Permission(person.answer, host)
    opening = asyncio.create_task(Link.open(targets.sandbox()))
    closing: list[asyncio.Task[None]] = []
    try:
        for n, tale in enumerate(tales):
            link = await opening
            outcomes.append(await _one(tale, link, page, step, permission))
            closing.append(asyncio.create_task(link.close()))
            if n + 1 < len(tales):
                opening = asyncio.create_task(Link.open(targets.sandbox()))
    finally:
        if not opening.done():
            opening.cancel()
        with contextlib.suppress(asyncio.CancelledError, FaultError):
            await (await opening).close()
        await asyncio.gather(*closing)
        # Last: what was changed on the host goes back when no sandbox is full any more.
        await asyncio.gather(*(link.close() for link in hosts))
    if page is not None and len(outcomes) > 1:
        _summary(page, outcomes)
    return outcomes


async def _one(tale: Tale, link: Link, page: _Page | None, step: bool, permission: Permission) -> Outcome:
    if page is not None:
        page.line(f"{tale.name}: {tale.title}", BOLD)
        page.line("─" * page.width)
        for paragraph in tale.story:
            page.paragraph(paragraph)
    async for event in runner.run(tale, link, permission):
        if isinstance(event, Finished):
            if page is not None:
                _end(page, tale, event.outcome)
            return event.outcome
        if page is not None:
            _show(page, event, step)
    raise AssertionError("a tale without an end")


def _show(page: _Page, event: runner.Event, step: bool) -> None:
    match event:
        case StepStarted(number, steps, told, rows):
            page.line()
            page.line(f"Step {number} of {steps}: {told.caption}", BOLD)
            if step:
                for move in told.moves:
                    page.commands(move)
                page.heading()
                for row in rows:
                    page.row(row)
                _typed("  Enter runs it ", sys.stdout)
            else:
                return
            page.heading()
        case Moving(move) if not step:
            page.commands(move)
        case Waiting(words):
            page.line(f"  … {clean(words)}")
        case RowMeasured(_, index, row):
            if index == 0 and not step:
                page.heading()
            page.row(row)


def _end(page: _Page, tale: Tale, outcome: Outcome) -> None:
    page.line()
    for note in outcome.notes:
        page.paragraph(note, "  ", "! ")
    if outcome.skipped:
        page.paragraph(f"SKIPPED {tale.name}: {outcome.skipped}")
        page.line()
        return
    page.paragraph(tale.explanation)
    page.line()
    page.paragraph(f"In production: {tale.production}")
    page.line()
    page.paragraph(f"Since the article (2020): {tale.since_2020}")
    page.line()
    wrong = [row for row in outcome.rows if not row.ok]
    for row in wrong:
        page.line(
            f"✗ {clean(row.what)}: predicted {_value(row.predicted)}, the kernel did {_value(row.measured)}",
            RED,
        )
    words = (
        f"FAILED: {len(wrong)} of {len(outcome.rows)} predictions"
        if wrong
        else f"As predicted: all {len(outcome.rows)} rows"
    )
    page.line(f"{words}, on Linux {clean(outcome.kernel)}.", RED if wrong else GREEN)
    page.line()


def _summary(page: _Page, outcomes: Sequence[Outcome]) -> None:
    passed, failed = sum(o.ok is True for o in outcomes), [o.tale for o in outcomes if o.ok is False]
    skipped = [o.tale for o in outcomes if o.ok is None]
    words = [f"{passed} of {len(outcomes)} tales as predicted"]
    words += [f"{len(failed)} FAILED: {', '.join(failed)}"] if failed else []
    words += [f"{len(skipped)} skipped: {', '.join(skipped)}"] if skipped else []
    page.line("; ".join(words) + ".", RED if failed else GREEN)
