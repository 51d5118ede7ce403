"""A link to one probe: spawn, ask, do, last words."""

import asyncio
import collections
import contextlib
from typing import Self

from cttui import __version__
from cttui.client.ssh import watched_through
from cttui.client.targets import Target
from cttui.model import framing
from cttui.model.actions import Action
from cttui.model.as_root import as_root
from cttui.model.faults import Fault, FaultError
from cttui.model.jobs import Job
from cttui.model.messages import PROTOCOL, Answer, Ask, Do, Done, Hello, ToProbe, Welcome

_STDERR_LINES = 20
_WELCOME_S = 15.0
_POLL_S = 0.02


def _explain_death(target: Target, code: int | None, words: list[str]) -> Fault:
    """What a probe's exit means, from its exit code and the last lines it wrote to stderr."""
    own = [word for word in words if "sigprocmask unblock failed" not in word]
    last = own[-1].strip() if own else ""
    text = " ".join(words)
    if (
        target.kind == "sandbox"
        and "unshare" in text
        and ("not permitted" in text or "No space left" in text)
    ):
        return Fault(
            "no-userns",
            f"This system does not let ordinary users make a sandbox ({last}).",
            "Run as root, or allow user namespaces: sysctl user.max_user_namespaces must not be 0, Debian's "
            "kernel.unprivileged_userns_clone must be 1, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns 0.",
        )
    if "nsenter" in text and "Invalid argument" in text:
        return Fault(
            "no-netns",
            f"{target.label} is no network namespace ({last}).",
            "`ip netns list` lists the named ones; a path may be /proc/PID/ns/net.",
        )
    if "nsenter" in text and "not permitted" in text:
        return Fault(
            "no-privilege",
            f"The namespace of {target.label} may not be entered ({last}).",
            f"Run as root: {as_root()} …",
        )
    how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
    if any("sigprocmask unblock failed" in word for word in words):
        # unshare(1) failing to end by the signal that its child was ended by: a slip of util-linux 2.38.
        how = "by a signal"
    said = f" Its last words: {last}" if last else " It said nothing."
    return Fault(
        "probe-died",
        f"The probe ended {how}.{said}",
        "Start it again; if that repeats, please report its last words.",
    )


class Link:
    """Frames with one probe. Made by `open`; one Ask or Do at a time."""

    def __init__(self, target: Target, process: asyncio.subprocess.Process) -> None:
        self.target = target
        self._process = process
        self._decoder = framing.client_decoder()
        self._words: collections.deque[str] = collections.deque(maxlen=_STDERR_LINES)
        self._stderr = asyncio.create_task(self._read_stderr())
        self._lock = asyncio.Lock()
        self._seq = 0
        self._arrived: collections.deque[object] = collections.deque()
        self.welcome: Welcome

    @classmethod
    async def open(
        cls,
        target: Target,
        *,
        read_only: bool = False,
        greeted: asyncio.Event | None = None,
    ) -> Self:
        """Start the target's probe and exchange greetings. `greeted` is set once ours is on its way.

        Raises FaultError: why there is no probe (no privilege, no namespaces, another version, …).
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *target.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                # Ctrl-C in the terminal is for the UI; a probe ends when its stdin does.
                start_new_session=True,
                limit=1 << 20,
            )
        except OSError as e:
            raise FaultError("no-probe", f"The probe could not be started: {e.strerror}.") from e
        link = cls(target, process)
        try:
            # In a sandbox nothing of it is to be seen.
            leave_out = watched_through() if target.kind == "host" else None
            hello = Hello(PROTOCOL, __version__, read_only, leave_out)
            async with asyncio.timeout(_WELCOME_S):
                await link._send(hello)
                if greeted is not None:
                    greeted.set()
                got = await link._receive()
        except TimeoutError:
            await link.close()
            raise FaultError(*link._silence()) from None
        except BaseException:
            await link.close()
            raise
        if isinstance(got, Fault):
            await link.close()
            raise FaultError.of(got)
        if not isinstance(got, Welcome) or got.protocol != PROTOCOL:
            await link.close()
            theirs = got.app if isinstance(got, Welcome) else "unknown"
            raise FaultError(
                "version",
                f"This is cttui {__version__}, the probe is {theirs}: they don't understand each other.",
                "Install the same version on both sides.",
            )
        link.welcome = got
        return link

    async def ask(self, ask: Ask) -> Answer:
        """The answer to one question. Raises FaultError when the probe is dead or refuses."""
        async with self._lock:
            await self._send(ask)
            while True:
                got = await self._receive()
                if isinstance(got, Answer) and got.seq == ask.seq:
                    return got
                if isinstance(got, Fault):
                    raise FaultError.of(got)

    async def do(self, action: Action) -> Done:
        """Have an action carried out; the Done names its job. Raises FaultError if it is refused."""
        async with self._lock:
            seq = self.next_seq()  # its own: others count on while we wait
            await self._send(Do(seq=seq, action=action))
            while True:
                got = await self._receive()
                if isinstance(got, Done) and got.seq == seq:
                    if got.fault is not None:
                        raise FaultError.of(got.fault)
                    return got
                if isinstance(got, Fault):
                    raise FaultError.of(got)

    async def finish(self, job: int) -> Job:
        """Ask until the job has ended; its last reading. Raises FaultError if it failed."""
        while True:
            answer = await self.ask(Ask(seq=self.next_seq()))
            for j in answer.jobs:
                if j.id == job and j.state != "running":
                    if j.fault is not None:
                        raise FaultError.of(j.fault)
                    return j
            await asyncio.sleep(_POLL_S)

    def next_seq(self) -> int:
        """A number for the next Ask."""
        self._seq += 1
        return self._seq

    async def close(self) -> None:
        """End the probe: close its stdin, give it a second, then kill it. Idempotent."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.returncode is None:
            try:
                async with asyncio.timeout(2.0):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._process.stdin is not None:
            # Taken, or asyncio prints the traceback of a pipe that broke when the probe died first.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                await self._process.stdin.wait_closed()
        self._stderr.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._stderr

    @property
    def alive(self) -> bool:
        """Whether the probe's process still runs."""
        return self._process.returncode is None

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # a line over the limit: words of a broken probe, not ours
                continue
            if not line:
                return
            self._words.append(line.decode("utf-8", "replace").rstrip())

    async def _send(self, message: ToProbe) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(framing.encode(message))
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise FaultError(*await self._death()) from None

    async def _receive(self) -> object:
        assert self._process.stdout is not None
        while not self._arrived:
            data = await self._process.stdout.read(1 << 18)
            if not data:
                raise FaultError(*await self._death())
            self._arrived.extend(self._decoder.feed(data))
        return self._arrived.popleft()

    def _silence(self) -> tuple[str, str, str]:
        """Fault fields for a probe that has not greeted in time: what came instead, if anything."""
        words = " ".join(self._words)
        said = f" Its words: {words}" if words else ""
        if got := self._decoder.pending[:60]:
            return (
                "bad-frame",
                f"No greeting came within {_WELCOME_S:.0f} s, but {got!r}.{said}",
                "Does the other side print something before the probe starts?",
            )
        return "no-welcome", f"The probe said nothing within {_WELCOME_S:.0f} s.{said}", "Try again."

    async def _death(self) -> tuple[str, str, str]:
        """Fault fields for a probe that is gone: its own Fault frame if it left one, else its last words."""
        try:
            async with asyncio.timeout(1.0):
                await self._process.wait()
                await self._stderr
        except TimeoutError:
            pass
        for message in self._arrived:
            if isinstance(message, Fault):
                return message.code, message.sentence, message.remedy
        fault = _explain_death(self.target, self._process.returncode, list(self._words))
        return fault.code, fault.sentence, fault.remedy
