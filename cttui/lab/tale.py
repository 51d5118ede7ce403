"""A tale: an experiment with its story, its moves, its predictions and what they teach."""

from dataclasses import dataclass, replace

from cttui.lab.moves import STIMULI, Commands, FillTo, Move
from cttui.lab.predictions import Prediction
from cttui.lab.readings import Reading


@dataclass(frozen=True, slots=True)
class Expectation:
    """One line of the table: what is read, in words; what it must be; where it is read.

    `needs` names an optional part (Commands.lacks): where that is missing the line is left out and said.
    """

    what: str
    predicted: Prediction
    reading: Reading
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """Moves and what is expected after the last of them.

    `forgets`: entries are meant to end meanwhile (by a RST, by early_drop); otherwise ended ones are the garbage
    collector's, which the result says. A step that filled the table is repeated from other ports where the
    collector took entries and a prediction failed; with `undisturbed` (a table full of what it takes) even
    where none did: nothing was measured then.
    """

    caption: str
    moves: tuple[Move, ...]
    expect: tuple[Expectation, ...]
    forgets: bool = False
    undisturbed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tale:
    """An experiment. Texts are plain: `story` three short paragraphs, `production` advice, `since_2020`
    where the article and today's kernels differ."""

    name: str
    title: str
    summary: str
    story: tuple[str, ...]
    steps: tuple[Step, ...]
    explanation: str
    production: str
    since_2020: str = ""
    slow: bool = False
    family: str = "ip"
    has_twin: bool = False
    """Whether it is told over IPv6 too (`twin`)."""

    @property
    def fills(self) -> bool:
        """Whether it fills the table."""
        return any(isinstance(move, FillTo) for step in self.steps for move in step.moves)

    @property
    def needs(self) -> tuple[str, ...]:
        """Capabilities of the probe (Welcome.can) without which it is skipped by name and reason."""
        return ("ctnetlink", "events", "fire", "rules", *(("fill",) if self.fills else ()))

    @property
    def commands(self) -> list[str]:
        """Every command line, in order."""
        return [
            line
            for step in self.steps
            for move in step.moves
            if isinstance(move, Commands)
            for line in move.lines
        ]


def twin(tale: Tale) -> Tale:
    """The same tale over IPv6: moves mapped, predictions unchanged."""
    steps = tuple(replace(step, moves=tuple(move.twin() for move in step.moves)) for step in tale.steps)
    return replace(
        tale,
        name=f"{tale.name}-v6",
        title=f"{tale.title} (IPv6)",
        summary=f"{tale.summary.removesuffix('.')}, over IPv6.",
        steps=steps,
        family="ip6",
        has_twin=False,
    )


def stimulus(step: Step) -> Move | None:
    """The move whose result the step reads: its last burst, hold or program."""
    return next((move for move in reversed(step.moves) if isinstance(move, STIMULI)), None)
