"""The packet log, or what a filter shows of it, as a pcapng file with journeys as comments."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from cttui import __version__
from cttui.model.faults import FaultError
from cttui.model.messages import Ask
from cttui.model.packet import PacketPage, PacketRow
from cttui.model.pcapng import JourneyComments, Writer
from cttui.model.safe import clean
from cttui.model.views import PacketView
from cttui.model.words import counted
from cttui.ui.dialogs import Button, Buttons, Dialog
from cttui.ui.fields import Field, Says
from cttui.ui.prose import Prose
from cttui.ui.session import Session
from cttui.ui.traced import MOST_SEARCHED, all_journeys

PAGE = 5_000
"""Packets a question: 1.3 MB of frames."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. `missed` packets fell out of the log while it was read."""

    path: Path
    packets: int
    journeys: int
    missed: int = 0

    @property
    def sentence(self) -> str:
        """What the person is told."""
        with_ = f", {self.journeys:,} of them with their journey" if self.journeys else ""
        missed = f" {self.missed:,} fell out of the log meanwhile." if self.missed else ""
        return f"{counted(self.packets, 'packet')}{with_} written to {clean(str(self.path))}.{missed}"


def usual_path(now: float | None = None) -> Path:
    """`./cttui-20261124-183000.pcapng`."""
    return Path(time.strftime("cttui-%Y%m%d-%H%M%S.pcapng", time.localtime(now)))


def judge_path(text: str) -> str:
    """What is wrong with a path to write to, "" where nothing is."""
    if not text.strip():
        return "A file name."
    path = Path(text.strip()).expanduser()
    if path.is_dir():
        return f"{clean(str(path))} is a folder."
    folder = path.parent
    if not folder.is_dir():
        return f"There is no folder {clean(str(folder))}."
    if not os.access(folder, os.W_OK):
        return f"Nothing can be written into {clean(str(folder))}."
    if path.exists() and not path.is_file():
        return f"{clean(str(path))} is no ordinary file."
    return ""


async def export(
    session: Session,
    path: Path,
    view: PacketView,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write the packets that `view` selects, oldest first, as far as they are in the log now.

    The file is written beside `path` and takes its place when it is whole. Raises FaultError: "export" where
    it can't be written, "nothing", "bad-filter".
    """
    newest, found = await _newest(session, view)
    if not found:
        raise FaultError("nothing", "There is no packet to export.")
    comments = JourneyComments((await all_journeys(session, MOST_SEARCHED)).journeys)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    commented = after = 0
    try:
        with part.open("xb") as stream:
            writer = Writer(stream, f"cttui {__version__}")
            while after < newest:
                page = await _page(
                    session, msgspec.structs.replace(view, anchor=after + 1, first=0, count=PAGE)
                )
                rows = [row for row in page.rows if after < row.seq <= newest]
                if not rows:
                    break
                commented += await asyncio.to_thread(_write, writer, rows, comments)
                after = rows[-1].seq
                progress(writer.count, found)
        part.replace(path)
    except OSError as e:
        raise FaultError("export", f"{path} could not be written: {e.strerror}.") from e
    finally:
        part.unlink(missing_ok=True)
    return Exported(path, writer.count, commented, max(0, found - writer.count))


def _write(writer: Writer, rows: list[PacketRow], comments: JourneyComments) -> int:
    """Write rows; how many have something to say."""
    said = 0
    for row in rows:
        comment = comments(row)
        said += bool(comment)
        writer.write(row, comment)
    return said


async def _page(session: Session, view: PacketView) -> PacketPage:
    answer = await session.once(lambda seq: Ask(seq=seq, packets=view))
    page = answer.packets or PacketPage()
    if page.error:
        raise FaultError("bad-filter", page.error)
    return page


async def _newest(session: Session, view: PacketView) -> tuple[int, int]:
    """Number of the newest packet of the view, and how many there are."""
    page = await _page(session, msgspec.structs.replace(view, anchor=0, first=-1, count=1))
    return (page.rows[-1].seq if page.rows else 0), page.matched


class Export(Dialog[Exported | None]):
    """Asks for the path, asks again before it overwrites, shows how far it is; Escape cancels."""

    def __init__(self, session: Session, view: PacketView, what: str) -> None:
        super().__init__()
        self.title_text = "Export packets"
        self._session, self._view, self._what = session, view, what
        self._overwrite = ""
        self._writing = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = self.title_text
            about = Prose(
                [
                    (self._what, "value"),
                    "As pcapng, for Wireshark and tcpdump. The journey of a traced packet is its comment.",
                    "",
                ]
            )
            about.can_focus = False
            yield about
            yield Field(str(usual_path()))
            yield Says()
            yield Buttons([Button("go", "Enter", "write"), Button("", "Esc", "cancel")])

    def on_mount(self) -> None:
        field = self.query_one(Field)
        field.focus()
        field.cursor_position = len(field.value)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._overwrite = ""
        problem = judge_path(event.value)
        self._say(problem, "error-text")

    def on_input_submitted(self) -> None:
        self._go()

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        if event.button:
            self._go()
        else:
            self.dismiss(None)

    def _go(self) -> None:
        text = self.query_one(Field).value.strip()
        if self._writing:
            return
        if problem := judge_path(text):
            self._say(problem, "error-text")
            return
        path = Path(text).expanduser()
        if path.exists() and self._overwrite != text:
            self._overwrite = text
            self._say("This file exists. Enter again overwrites it.", "level-warn")
            return
        self._writing = True
        self.query_one(Field).disabled = True
        self._say("Reading the log…")
        self.run_worker(self._work(path), exclusive=True)

    async def _work(self, path: Path) -> None:
        try:
            done = await export(self._session, path, self._view, self._progress)
        except FaultError as e:
            self._writing = False
            field = self.query_one(Field)
            field.disabled = False
            field.focus()
            self._say(f"{clean(e.fault.sentence)} {clean(e.fault.remedy)}".rstrip(), "error-text")
            return
        self.dismiss(done)

    def _progress(self, done: int, total: int) -> None:
        self._say(f"{done:,} of {total:,} packets written")

    def _say(self, text: str, style: str = "muted") -> None:
        self.query_one(Says).say(text, style)
