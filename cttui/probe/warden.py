"""The warden: puts host settings back, however the others die.

A child in a session of its own, with nothing but the standard library: it alone outlives the probe. It
hears on a pipe which setting will be written (before it is: the probe waits for the answer), and puts the
old value back at the deadline, when the pipe ends, or at SIGTERM and SIGHUP — if the setting still holds
what we wrote; what someone else has written since stays, and the system log says so.

It inherits the probe's network namespace, so /proc/sys/net means the same to both.
"""

import json
import os
import select
import signal
import subprocess
import sys
import syslog
import time
from pathlib import Path
from typing import IO

# ---------------------------------------------------------------- in the child


class _Guarded:
    __slots__ = ("deadline", "new", "old", "path")

    def __init__(self, path: str, old: str, new: str, deadline: float) -> None:
        self.path, self.old, self.new, self.deadline = path, old, new, deadline


class _Keeper:
    """What is guarded, and how it is put back."""

    def __init__(self) -> None:
        self.held: dict[str, _Guarded] = {}

    def guard(self, name: str, path: str, old: str, new: str, keep_s: float) -> None:
        """A second change of the same setting keeps the first old value, and gets a new deadline (0: none)."""
        before = self.held.get(name)
        deadline = time.monotonic() + keep_s if keep_s > 0 else float("inf")
        self.held[name] = _Guarded(path, before.old if before else old, new, deadline)

    def put_back(self, name: str, why: str) -> str:
        """`reverted`, `unchanged` (it holds the old value already), `left` (someone else wrote it) or an error."""
        it = self.held.pop(name)
        try:
            found = Path(it.path).read_text(encoding="ascii")
            if found.split() == it.old.split():
                return "unchanged"
            if found.split() != it.new.split():
                _log(f"{name} is {found.strip()}, neither {it.old} nor our {it.new}: left alone ({why})")
                return "left"
            fd = os.open(it.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, it.old.encode() + b"\n")
            finally:
                os.close(fd)
        except OSError as e:
            _log(f"{name} could not be put back to {it.old}: {e.strerror} ({why})")
            return f"error: {e.strerror}"
        _log(f"{name} put back from {it.new} to {it.old} ({why})")
        return "reverted"

    def all_back(self, why: str) -> None:
        """Put everything back, newest first."""
        for name in reversed(list(self.held)):
            self.put_back(name, why)


def _log(sentence: str) -> None:
    syslog.syslog(syslog.LOG_NOTICE, sentence)


def _answer(keeper: _Keeper, line: bytes) -> dict[str, object]:
    asked = json.loads(line)
    match asked:
        case {"do": "guard", "name": name, "path": path, "old": old, "new": new, "keep_s": keep_s}:
            keeper.guard(name, path, old, new, keep_s)
            return {"ok": "guarded"}
        case {"do": "keep", "name": name}:
            return {"ok": "kept" if keeper.held.pop(name, None) else "unknown"}
        case {"do": "undo", "name": name} if name in keeper.held:
            return {"ok": keeper.put_back(name, "undone")}
    return {"ok": "unknown"}


def main(argv: list[str] | None = None) -> int:
    """The child: requests on stdin, answers and news on stdout, one JSON object a line."""

    ended: list[str] = []
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the UI; its end reaches us through the pipe
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # noted, not raised: nothing may cut a write of the old value short
        signal.signal(number, lambda n, _: ended.append(signal.Signals(n).name))
    syslog.openlog("cttui-warden", syslog.LOG_PID, syslog.LOG_DAEMON)
    keeper = _Keeper()
    _serve(keeper, wake, ended)
    keeper.all_back(ended[0] if ended else "cttui ended")
    return 0


def _say(message: dict[str, object]) -> None:
    try:
        os.write(1, json.dumps(message).encode() + b"\n")
    except OSError:  # the probe is gone: the end of stdin says so, too
        pass


def _serve(keeper: _Keeper, wake: int, ended: list[str]) -> None:
    """Answer and watch deadlines until stdin ends or a signal says to."""
    pending = b""
    while not ended:
        now = time.monotonic()
        for name in [n for n, it in keeper.held.items() if it.deadline <= now]:
            _say({"news": keeper.put_back(name, "time ran out"), "name": name})
        wait = min((it.deadline for it in keeper.held.values()), default=now + 3600) - now
        if 0 not in select.select([0, wake], [], [], min(max(wait, 0), 3600))[0]:
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            _say(_answer(keeper, line))


# ---------------------------------------------------------------- in the probe


def news_words(name: str, what: str, value: str) -> tuple[str, str, str]:
    """(level, sentence, remedy) of what the warden did with a setting by itself; `value` is its value now."""
    match what:
        case "reverted":
            return "info", f"{name} is {value} again: nobody kept the change, so it was put back.", ""
        case "unchanged":
            return "info", f"{name} was {value} again already: nothing had to be put back.", ""
        case "left":
            return (
                "warning",
                f"{name} is {value}: somebody else wrote that meanwhile, so it was not put back.",
                "",
            )
    why = what.removeprefix("error: ")
    return (
        "error",
        f"{name} was not put back ({why}): it is {value}.",
        f"Set it by hand: sysctl -w net.netfilter.{name}=…",
    )


class WardenError(Exception):
    """The warden does not answer: nothing may be written without it."""


class Warden:
    """The probe's handle. Calls wait for the child's answer: under a millisecond, 30 ms for the first."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._pending: dict[str, tuple[str, float | None]] = {}
        self._news: list[tuple[str, str]] = []

    def start(self) -> None:
        """Have the child running. `guard` does so by itself."""
        if self._process is not None and self._process.poll() is None:
            return
        self._pending.clear()
        self._buffer = b""
        # -I -S: no site packages and nothing from the current directory, in a process that may write as root
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/",
        )  # fmt: skip

    def guard(self, name: str, old: str, new: str, keep_s: float) -> None:
        """Have `name` put back from `new` to `old` in `keep_s` seconds (0: no deadline) or when we end.

        To be called before the write.
        A second guard of the same name keeps the first old value. Raises WardenError: then do not write.
        """
        from cttui.kernel.sysctl import path_of

        self.start()
        self._ask(do="guard", name=name, path=str(path_of(name)), old=old, new=new, keep_s=keep_s)
        first = self._pending[name][0] if name in self._pending else old
        self._pending[name] = (first, time.monotonic() + keep_s if keep_s > 0 else None)

    def keep(self, name: str) -> bool:
        """Let the present value stay. False if nothing was pending (it may just have been put back)."""
        self._pending.pop(name, None)
        return self._process is not None and self._ask(do="keep", name=name) == "kept"

    def undo(self, name: str) -> bool:
        """Put the old value back now. False if nothing was pending, or someone else has changed it since."""
        self._pending.pop(name, None)
        return self._process is not None and self._ask(do="undo", name=name) in ("reverted", "unchanged")

    def pending(self) -> dict[str, tuple[str, float | None]]:
        """name → (the value it will go back to, seconds left; None: when we end)."""
        self._collect()
        now = time.monotonic()
        return {
            name: (old, None if deadline is None else max(deadline - now, 0.0))
            for name, (old, deadline) in self._pending.items()
        }

    def news(self) -> list[tuple[str, str]]:
        """What happened by itself since last asked: (name, `reverted`, `unchanged`, `left` or an error)."""
        self._collect()
        news, self._news = self._news, []
        return news

    @property
    def pid(self) -> int | None:
        """The child's process id, None before it was needed."""
        return self._process.pid if self._process is not None else None

    def close(self) -> None:
        """End the pipe: everything pending is put back, then the child goes. Waits for it."""
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        self._process.wait()
        self._process = None
        self._pending.clear()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise WardenError("The warden is not running.")
        return self._process.stdin, self._process.stdout

    def _ask(self, **request: object) -> str:
        stdin, stdout = self._pipes()
        try:
            os.write(stdin.fileno(), json.dumps(request).encode() + b"\n")
        except OSError as e:
            raise WardenError(f"The warden is gone: {e.strerror}.") from e
        deadline = time.monotonic() + 5
        while True:
            for message in self._read(stdout, max(deadline - time.monotonic(), 0)):
                if "ok" in message:
                    return str(message["ok"])
            if time.monotonic() >= deadline:
                raise WardenError("The warden does not answer.")

    def _collect(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            try:
                self._read(self._process.stdout, 0)
            except WardenError:
                self._news += [(name, "error: the warden died") for name in self._pending]
                self._pending.clear()

    def _read(self, stdout: IO[bytes], wait_s: float) -> list[dict[str, object]]:
        """Answers that have come, news put aside. Raises WardenError if the child is gone."""
        if not select.select([stdout], [], [], wait_s)[0]:
            return []
        data = os.read(stdout.fileno(), 65536)
        if not data:
            raise WardenError("The warden is gone.")
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        out = []
        for line in lines:
            message = json.loads(line)
            if "news" in message:
                self._pending.pop(message["name"], None)
                self._news.append((message["name"], message["news"]))
            else:
                out.append(message)
        return out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
