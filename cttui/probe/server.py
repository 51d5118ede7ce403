"""The probe's process: frames on stdin and stdout, one loop, and how it ends.

stdin's EOF ends it: whoever asked is gone. Replies are written without blocking; a client that doesn't
read gets no further answers until it does (it has one Ask outstanding anyway).
"""

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from cttui.model import framing
from cttui.model.faults import Fault, FaultError
from cttui.model.messages import PROTOCOL, Ask, Do, Done, Hello, ToClient, ToProbe

if TYPE_CHECKING:
    from cttui.probe.sandbox import Sandbox

NICE = 5
"""The probe yields to what it watches."""
LAST_S = 1
"""Seconds for an orderly end. asyncio can wait for ever for a subprocess that was being started when its task
was cancelled (a pipe not yet connected never disconnects); nobody is left then to kill us."""
USAGE = "usage: cttui probe [--sandbox]    (frames on stdin and stdout; not for use by hand)"


class Server:
    """Reads frames from fd 0, answers on fd 1, until EOF, SIGTERM or SIGHUP."""

    def __init__(self, sandbox: "Sandbox | None") -> None:
        self._sandbox = sandbox
        self._decoder = framing.probe_decoder()
        self._out = bytearray()
        self._ended: asyncio.Future[int]
        self._queue: asyncio.Queue[ToProbe] = asyncio.Queue()

    async def run(self) -> int:
        """Serve; the exit code."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._end, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for fd in (0, 1):
            os.set_blocking(fd, False)
        loop.add_reader(0, self._readable)
        serving = asyncio.create_task(self._serve())
        serving.add_done_callback(self._served)
        try:
            return await self._ended
        finally:
            loop.remove_reader(0)
            serving.cancel()
            # Before the loop cancels every task at once: the engine ends its children in order.
            await asyncio.gather(serving, return_exceptions=True)

    def _served(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            fault = error.fault if isinstance(error, FaultError) else None
            if fault is not None:
                self._last(fault)
                self._end(2)
            elif not self._ended.done():
                self._ended.set_exception(error)

    def _end(self, code: int) -> None:
        if not self._ended.done():
            # A handler: the first process of a PID namespace is deaf to signals without one.
            signal.signal(signal.SIGALRM, lambda *_: os._exit(code))
            signal.alarm(LAST_S)
            self._ended.set_result(code)

    def _readable(self) -> None:
        try:
            data = os.read(0, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(0)
            return
        try:
            for message in self._decoder.feed(data):
                self._queue.put_nowait(message)
        except FaultError as e:
            self._last(e.fault)
            self._end(2)

    def _last(self, fault: Fault) -> None:
        """Last words: what can be written without waiting."""
        try:
            os.write(1, framing.encode(fault))
        except OSError:
            pass  # nobody reads any more

    def _send(self, message: ToClient) -> None:
        empty = not self._out
        self._out += framing.encode(message)
        if empty:
            self._writable()

    def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        while self._out:
            try:
                n = os.write(1, self._out)
            except BlockingIOError:
                loop.add_writer(1, self._writable)
                return
            except OSError:  # the client is gone
                self._end(0)
                return
            del self._out[:n]
        loop.remove_writer(1)

    async def _serve(self) -> None:
        hello = await self._queue.get()
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            theirs = (
                f"protocol {hello.protocol} (cttui {hello.app})"
                if isinstance(hello, Hello)
                else "no greeting"
            )
            raise FaultError(
                "version",
                f"The probe speaks protocol {PROTOCOL}, the client {theirs}.",
                "Install the same version on both sides.",
            )
        # Imports numpy: after the greeting, so that a version mismatch answers at once.
        from cttui.probe.engine import Engine

        engine = Engine(sandbox=self._sandbox, hello=hello)
        try:
            self._send(await engine.start())
            while True:
                message = await self._queue.get()
                if isinstance(message, Ask):
                    self._send(await engine.answer(message))
                elif isinstance(message, Do):
                    try:
                        done = Done(seq=message.seq, job=await engine.do(message.action))
                    except FaultError as e:
                        done = Done(seq=message.seq, fault=e.fault)
                    self._send(done)
        finally:
            await engine.stop()


def main(argv: list[str]) -> int:
    """Entry of `cttui probe`. Exit code 0 after EOF or a signal, 2 after a Fault, 1 after a bug."""
    if argv not in ([], ["--sandbox"]):
        print(USAGE, file=sys.stderr)
        return 2
    os.nice(NICE)
    try:
        box = None
        if argv:
            from cttui.probe.sandbox import begin, open_sandbox

            opening = begin()
            # While iptables works: what the engine needs anyway.
            import cttui.probe.engine  # noqa: F401

            box = open_sandbox(opening)
        return asyncio.run(Server(box).run())
    except FaultError as e:
        os.write(1, framing.encode(e.fault))
        return 2
    except KeyboardInterrupt:
        return 0
    except Exception as e:  # last words on stderr: the client shows them
        import traceback

        traceback.print_exc(file=sys.stderr)
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        return 1
