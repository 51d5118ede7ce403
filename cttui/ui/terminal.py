"""The terminal's signals, and what happens when it goes away.

Three habits of Textual's driver (8.2.8) left the program hanging on a terminal that was closed:

- Every SIGCONT is the end of a suspension to it. But the kernel sends one after each hangup's SIGHUP, and
  `kill -CONT` costs nothing: a second pair of threads then ran, and nobody ended the first.
- It suspends and resumes inside signal handlers. One that interrupts a `Queue.put` waits for its own lock.
- Its writing thread ends with the first EIO. The queue before it fills up, and the loop waits for room.
"""

import asyncio
import os
import select
import signal
from collections.abc import Callable
from typing import TextIO

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

HUNG_UP = 128 + signal.SIGHUP


class _Output:
    """What the writing thread writes to: the terminal, and nowhere once that is gone."""

    def __init__(self, file: TextIO, lost: Callable[[], None]) -> None:
        self._file = file
        self._lost = lost
        self.fileno = file.fileno

    def write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError:
            self._let_go()

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError:
            self._let_go()

    def _let_go(self) -> None:
        # What is still buffered must go somewhere, here and when the interpreter ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)
        self._lost()


class TerminalDriver(LinuxDriver):
    """Textual's driver without those habits. Made on the event loop, as Textual does."""

    def __init__(
        self,
        app: App[object],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._suspended = False
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._file = _Output(self._file, self._lost)  # type: ignore[assignment, arg-type]
        # Registered for nothing, an epoll tells of hangups only. There may be no SIGHUP: that is for those whose
        # controlling terminal this is.
        self._hangup = select.epoll()
        self._hangup.register(self.fileno, 0)
        self._loop.add_reader(self._hangup.fileno(), self._lost)

    def write(self, data: str) -> None:
        """Hand to the writing thread. Nothing while there is none: what was painted meanwhile is painted again."""
        if self._writer_thread is not None and self._writer_thread.is_alive():
            self._writer_thread.write(data)

    def run_input_thread(self) -> None:
        """Read keys until told to end."""
        try:
            super().run_input_thread()
        except OSError:
            pass  # EIO: the other side is closed, which the loop is told as well

    def _lost(self) -> None:
        """The terminal is gone; called by any thread."""
        self._loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self._loop.remove_reader(self._hangup.fileno())
        self._app.exit(return_code=HUNG_UP)

    def _sigtstp_application(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._suspend)

    def _sigcont_application(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._resume)

    def _suspend(self) -> None:
        if self._auto_restart and not self._suspended:
            self.suspend_application_mode()
            self._suspended = self._must_signal_resume = True
        os.kill(os.getpid(), signal.SIGSTOP)

    def _resume(self) -> None:
        if self._suspended:
            self.resume_application_mode()
            # Without the terminal (`bg`) it did not begin, and is called again by the next SIGCONT.
            self._suspended = self._writer_thread is not None and not self._writer_thread.is_alive()
        else:
            # Stopped by SIGSTOP, perhaps, and another program has painted since.
            self._app.post_message(self.SignalResume())
