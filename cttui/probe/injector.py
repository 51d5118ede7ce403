"""The injector: a child process that writes bursts to the sandbox's device, and its handle in the probe.

A process of its own because a thread in the probe would cost 8 times the rate. It lives as long as the
probe, inherits the device, reads Fire frames (u32 length + msgpack) on stdin and writes one JSON line per
progress on stdout. SIGTERM ends the burst under way or, between bursts, the process.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from cttui.model.actions import Fire
from cttui.model.faults import FaultError

if TYPE_CHECKING:  # the probe side needs neither numpy nor the devices
    from cttui.probe.sandbox import Sandbox
    from cttui.probe.wire import Wire

_LENGTH = struct.Struct("<I")
MAX_FIRE = 64 << 20
BATCH = 4096
"""Packets built at once: a few milliseconds at full speed between looks at the clock."""
PROGRESS_S = 0.05
STOP_S = 2.0
"""How long a burst may take to end when it is cancelled; then its process is."""
NAP_S = 0.05
"""Longest sleep: how long a cancel may go unnoticed in a slow burst."""
LEAST_NAP_S = 0.001
"""Shortest sleep: at 50,000 packets/s to wake for each few of them costs more than to send them."""


class FireReport(msgspec.Struct, frozen=True):
    """What became of a burst so far. `sent` packets were accepted by the device; `errors` by errno name."""

    sent: int = 0
    errors: dict[str, int] = {}
    seconds: float = 0.0
    done: bool = False
    cancelled: bool = False
    failed: str = ""
    """A sentence where the burst could not be carried out to its end."""


# ---------------------------------------------------------------- in the child


def run(
    wire: "Wire", fire: Fire, report: Callable[[FireReport], None], cancelled: Callable[[], bool]
) -> FireReport:
    """Send a burst on its schedule: packet i at i / rate_pps from the start (0: as fast as it goes).

    The schedule is absolute, so a late packet does not delay those after it.
    """
    from cttui.probe.packet_bytes import burst, check
    from cttui.probe.wire import StuckError

    for template in fire.templates:
        check(template)
    n = len(fire.templates)
    if n == 0:
        raise FaultError("bad-template", "There is no packet to send.")
    per_batch = max(BATCH // n, 1) * n  # whole rounds, so that a batch begins with template 0
    sent, stopped, failed = 0, False, ""
    start = time.monotonic()
    told = start

    def so_far(done: bool = False) -> FireReport:
        lost = wire.lost() if done else 0
        errors = {**wire.errors, "dropped": lost} if lost else dict(wire.errors)
        return FireReport(sent - lost, errors, time.monotonic() - start, done, stopped, failed)

    try:
        first = 0
        while first < fire.count and not stopped:
            size = min(per_batch, fire.count - first)
            wire.load(burst(fire.templates, first, size, fire.seed, wire.pad))
            at = 0
            while at < size:
                stopped = cancelled()
                if stopped:
                    break
                now = time.monotonic()
                if now - told > PROGRESS_S:
                    report(so_far())
                    told = now
                due = size
                if fire.rate_pps > 0:
                    due = min(int((now - start) * fire.rate_pps) + 1 - first, size)
                    if due <= at:
                        time.sleep(min(max(start + (first + at) / fire.rate_pps - now, LEAST_NAP_S), NAP_S))
                        continue
                sent += wire.send(at, due)
                at = due
            first += size
    except StuckError as e:
        sent += e.sent
        failed = "The device takes no more packets."
    return so_far(done=True)


def _read(stream: BinaryIO) -> Fire | None:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    body = stream.read(size) if size <= MAX_FIRE else b""
    return msgspec.msgpack.decode(body, type=Fire) if len(body) == size else None


def main(argv: list[str]) -> int:
    """The child: bursts from stdin to the inherited descriptor until stdin ends."""
    parser = argparse.ArgumentParser(prog="cttui probe-injector", description="Not for use by hand.")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--link-header", default="", help="hexadecimal; none: a tun device")
    parser.add_argument("--wire", default="", help="the sending end of a veth pair")
    options = parser.parse_args(argv)
    state = {"busy": False, "cancel": False}

    def terminate(*_: object) -> None:
        if not state["busy"]:
            os._exit(0)
        state["cancel"] = True

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for the UI
    from cttui.probe.wire import Tun, Veth  # loads numpy: after the signals are in order

    gc.disable()  # nothing here makes cycles, and a view a packet has it look for some all the time

    def report(progress: FireReport) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(progress) + b"\n")
        sys.stdout.buffer.flush()

    with contextlib.suppress(BrokenPipeError):
        while (fire := _read(sys.stdin.buffer)) is not None:
            state.update(busy=True, cancel=False)
            try:
                wire: Wire = (
                    Veth(options.fd, bytes.fromhex(options.link_header), options.wire)
                    if options.wire
                    else Tun(options.fd)
                )
                report(run(wire, fire, report, lambda: state["cancel"]))
            except FaultError as e:
                report(FireReport(done=True, failed=e.fault.sentence))
            state["busy"] = False
    return 0


# ---------------------------------------------------------------- in the probe


class Injector:
    """The probe's handle: starts the child when it is first needed and again should it have died."""

    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._process: asyncio.subprocess.Process | None = None
        self._firing = False
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Have the child ready (0.1 s: Python and numpy), so that the first burst need not wait for it."""
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            box = self._sandbox
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "cttui.probe.injector", "--fd", str(box.fd),
                "--link-header", box.link_header.hex(), "--wire", box.wire,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, pass_fds=(box.fd,),
            )  # fmt: skip

    async def fire(self, fire: Fire, progress: Callable[[FireReport], None] | None = None) -> FireReport:
        """Carry out a burst; cancelled, it has sent its last packet and `progress` has heard how many.

        Raises FaultError: "burst-busy", "bad-template", "injector-died".
        """
        if self._firing:
            raise FaultError("burst-busy", "Another burst is under way.", "Wait for it, or cancel it.")
        self._firing = True
        try:
            await self.start()
            return await self._fire(fire, progress)
        except asyncio.CancelledError:
            await self._stop(progress)
            raise
        finally:
            self._firing = False

    async def _fire(self, fire: Fire, progress: Callable[[FireReport], None] | None) -> FireReport:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        body = msgspec.msgpack.encode(fire)
        if len(body) > MAX_FIRE:
            raise FaultError(
                "bad-template", "The burst is too large to hand over.", "Use fewer packets of its own kind."
            )
        try:
            process.stdin.write(_LENGTH.pack(len(body)) + body)
            await process.stdin.drain()
            while line := await process.stdout.readline():
                report = msgspec.json.decode(line, type=FireReport)
                if report.done:
                    if report.failed and not report.sent and not report.errors:
                        raise FaultError("bad-template", report.failed)
                    return report
                if progress is not None:
                    progress(report)
        except (BrokenPipeError, ConnectionResetError):
            pass
        code = await process.wait()
        self._process = None
        raise FaultError(
            "injector-died", f"The injector ended with status {code} before the burst did.", "Fire again."
        )

    async def _stop(self, progress: Callable[[FireReport], None] | None) -> None:
        """End the burst under way, and read what it still reports: the next burst must not take it for its own."""
        process = self._process
        if process is None or process.returncode is not None or process.stdout is None:
            return
        report = FireReport()
        with contextlib.suppress(TimeoutError, ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_S):
                while not report.done and (line := await process.stdout.readline()):
                    report = msgspec.json.decode(line, type=FireReport)
        if not report.cancelled:  # it was between bursts and ends, or does not listen
            await self.close()
        if progress is not None:
            progress(report)

    async def close(self) -> None:
        """End the child."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
