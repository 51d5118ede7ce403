"""Frames of a real run in a file, and a link that answers from one.

A file is the magic line, then one zlib stream of frames as on a probe's pipe: Welcome first, then in order
what was asked and what came back. Frames carry their own type, so nothing else is needed; the stream is
flushed after each, so that the recording of a program that was killed plays to its end.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from cttui.client.targets import Target
from cttui.model.actions import Action
from cttui.model.faults import Fault, FaultError
from cttui.model.jobs import Job
from cttui.model.messages import Answer, Ask, Do, Done, Hello, Welcome
from cttui.model.packet import JourneysReading
from cttui.model.views import JourneyView

MAGIC = b"cttui recording 1\n"
JOURNEYS = 1_000
"""Journeys of a burst or trace that are written down: 1.5 MB before compression."""
_STIMULI = ("fire", "hold", "send")
"""Jobs whose packets are traced."""
_LENGTH = struct.Struct("<I")
_FRAME: msgspec.msgpack.Decoder[Hello | Ask | Do | Welcome | Answer | Done | Fault] = msgspec.msgpack.Decoder(
    Hello | Ask | Do | Welcome | Answer | Done | Fault
)


class AnyLink(Protocol):
    """What the user interface and the runner need of a link."""

    target: Target
    welcome: Welcome

    async def ask(self, ask: Ask) -> Answer:
        """The answer to one question."""

    async def do(self, action: Action) -> Done:
        """Have an action carried out."""

    async def finish(self, job: int) -> Job:
        """Ask until the job has ended."""

    def next_seq(self) -> int:
        """A number for the next Ask."""

    async def close(self) -> None:
        """End the probe."""


class RecordingLink:
    """A link that writes down what passes through another."""

    def __init__(self, link: AnyLink, path: Path) -> None:
        self._link = link
        self.target = link.target
        self.welcome = link.welcome
        self._file: BinaryIO = path.open("wb")
        self._file.write(MAGIC)
        self._zip = zlib.compressobj(9)
        self._ended: set[int] = set()
        self._armed = False
        self._write(link.welcome)

    def _write(self, message: object) -> None:
        body = msgspec.msgpack.encode(message)
        packed = self._zip.compress(_LENGTH.pack(len(body)) + body) + self._zip.flush(zlib.Z_SYNC_FLUSH)
        self._file.write(packed)
        self._file.flush()

    async def ask(self, ask: Ask) -> Answer:
        """As the link's, written down."""
        answer = await self._link.ask(ask)
        self._write(ask)
        self._write(answer)
        if self._trace_over(answer):
            journeys = Ask(seq=self._link.next_seq(), journey=JourneyView(count=JOURNEYS))
            told = await self._link.ask(journeys)
            self._write(journeys)
            self._write(told)
        return answer

    def _trace_over(self, answer: Answer) -> bool:
        """Whether this answer is the first after a trace: nobody may have asked for its journeys yet."""
        ended = {job.id for job in answer.jobs if job.kind in _STIMULI and job.state != "running"}
        armed = answer.journeys.armed if answer.journeys is not None else self._armed
        over = bool(ended - self._ended) or (self._armed and not armed)
        self._ended, self._armed = ended, armed
        return over

    async def do(self, action: Action) -> Done:
        """As the link's, written down; a refusal too."""
        seq = self._link.next_seq()
        try:
            done = await self._link.do(action)
        except FaultError as e:
            self._write(Do(seq=seq, action=action))
            self._write(Done(seq=seq, fault=e.fault))
            raise
        self._write(Do(seq=seq, action=action))
        self._write(done)
        return done

    async def finish(self, job: int) -> Job:
        """As the link's; its questions are not written down."""
        return await self._link.finish(job)

    def next_seq(self) -> int:
        """A number for the next Ask."""
        return self._link.next_seq()

    async def close(self) -> None:
        """End the probe and the file."""
        await self._link.close()
        if not self._file.closed:
            self._file.write(self._zip.flush())
            self._file.close()


def frames(path: Path) -> Iterator[object]:
    """Every frame of a recording, in order. Raises FaultError "recording" for a file that is none.

    A last frame cut short is left out: a recording whose writer was killed still plays.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise FaultError("recording", f"{path} could not be read: {e.strerror}.") from e
    if not data.startswith(MAGIC):
        raise FaultError("recording", f"{path} is no recording of cttui.", "`cttui --record FILE` makes one.")
    try:
        plain = zlib.decompressobj().decompress(data[len(MAGIC) :])
    except zlib.error as e:
        raise FaultError("recording", f"{path} is damaged: {e}.") from e
    at = 0
    while at + 4 <= len(plain):
        (n,) = _LENGTH.unpack_from(plain, at)
        if at + 4 + n > len(plain):
            return
        try:
            yield _FRAME.decode(plain[at + 4 : at + 4 + n])
        except (msgspec.DecodeError, msgspec.ValidationError) as e:
            raise FaultError("recording", f"{path}: a frame could not be read: {e}.") from e
        at += 4 + n


def _played(steps: list[object]) -> Iterator[Answer | Do | Done | JourneysReading]:
    """What is played: answers and actions; of answers to a question for journeys alone, only those."""
    alone = False
    for step in steps:
        if isinstance(step, Ask):
            alone = step == Ask(seq=step.seq, journey=step.journey, at=step.at) and step.journey is not None
        elif isinstance(step, Answer) and alone and step.journeys is not None:
            yield step.journeys
        elif isinstance(step, Answer | Do | Done):
            yield step


class ReplayLink:
    """Answers from a recording: the next Answer in the file for each Ask, the last one for ever after.

    An action that stands next in the file moves on to what followed it; any other is refused. Journeys are kept
    aside: they are there for whoever asks for them, until those of another trace come.
    """

    def __init__(self, path: Path) -> None:
        steps = list(frames(path))
        if not steps or not isinstance(steps[0], Welcome):
            raise FaultError("recording", f"{path} does not begin with a greeting.")
        self.welcome: Welcome = steps[0]
        self.target = Target(self.welcome.target, f"RECORDING of {self.welcome.target}")
        self._steps = list(_played(steps[1:]))
        self._at = 0
        self._last: Answer | None = None
        self._journeys: JourneysReading | None = None
        self._seq = 0

    async def ask(self, ask: Ask) -> Answer:
        """The next recorded answer. It stops before a recorded action until that action is asked for, and while
        the picture is frozen."""
        still = ask.at is not None and self._last is not None
        while self._at < len(self._steps) and isinstance(aside := self._steps[self._at], JourneysReading):
            self._at += 1
            self._keep(aside)
        if not still and self._at < len(self._steps) and isinstance(step := self._steps[self._at], Answer):
            self._at += 1
            self._last = step
        if self._last is None:
            raise FaultError("recording", "The recording holds no answer.")
        return msgspec.structs.replace(self._last, seq=ask.seq, journeys=self._window(ask.journey))

    def _keep(self, page: JourneysReading) -> None:
        """Take journeys aside; pages of one trace are put together."""
        kept = self._journeys
        if kept is None or (page.why, page.total) != (kept.why, kept.total):
            self._journeys = page if page.first == 0 else None
        elif page.first <= len(kept.journeys) < page.first + len(page.journeys):
            journeys = [*kept.journeys[: page.first], *page.journeys]
            self._journeys = msgspec.structs.replace(page, first=0, journeys=journeys)

    def _window(self, view: JourneyView | None) -> JourneysReading | None:
        """The journeys asked for, as far as they were written down."""
        assert self._last is not None
        then, kept = self._last.journeys, self._journeys
        if (
            view is None
            or kept is None
            or (then is not None and (then.why, then.total) != (kept.why, kept.total))
        ):
            return then
        first = max(len(kept.journeys) - view.count, 0) if view.first < 0 else view.first
        shown = kept.journeys[first : first + view.count]
        return msgspec.structs.replace(kept, first=first, journeys=shown)

    @property
    def next_action(self) -> str:
        """The kind of the action that it goes on with, `fire` or another; "" where none is left."""
        steps = (step for step in self._steps[self._at :] if isinstance(step, Do))
        return next((type(step.action).__name__.lower() for step in steps), "")

    async def do(self, action: Action) -> Done:
        """The recorded outcome of this kind of action, or a refusal."""
        for at in range(self._at, len(self._steps)):
            step = self._steps[at]
            if isinstance(step, Do):
                if type(step.action) is not type(action):
                    break
                self._at = at + 2
                done = self._steps[at + 1] if at + 1 < len(self._steps) else None
                if not isinstance(done, Done):  # its writer was killed in between
                    break
                if done.fault is not None:
                    raise FaultError.of(done.fault)
                return done
        raise FaultError("recording", "This is a recording: nothing can be done to it.")

    async def go_on(self) -> Done:
        """Carry out the recorded action that comes next, whatever it is. Raises FaultError."""
        steps = (step for step in self._steps[self._at :] if isinstance(step, Do))
        if (step := next(steps, None)) is None:
            raise FaultError("recording", "The recording ends here.")
        return await self.do(step.action)

    async def finish(self, job: int) -> Job:
        """The recorded end of the job."""
        for _ in range(len(self._steps)):
            answer = await self.ask(Ask(seq=self.next_seq()))
            for j in answer.jobs:
                if j.id == job and j.state != "running":
                    return j
        raise FaultError("recording", "The recording ends before this job does.")

    def next_seq(self) -> int:
        """A number for the next Ask."""
        self._seq += 1
        return self._seq

    async def close(self) -> None:
        """Nothing to end."""
