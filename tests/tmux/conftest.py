"""A real terminal: a tmux server of its own, its screen as text, waits with a deadline."""

import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class Tmux:
    """One tmux server with one window of `columns` × `rows`; `home` is the program's HOME."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._started = 0
        self._socket = home / "tmux"

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, f"tmux {words}: {done.stderr}"
        return done.stdout

    def start(self, argv: list[str], columns: int = 80, rows: int = 24, **environment: str) -> None:
        """Run a command in a new window; its exit code is printed when it ends, and the window stays.

        A terminal with a history of its own stands around it: what was on screen before must come back.
        """
        # A server that has just been killed may not be started again under its name at once.
        self._started += 1
        self._socket = self.home / f"tmux-{self._started}"
        variables = {"HOME": str(self.home), "LC_ALL": "C.UTF-8", "COLORTERM": "", **environment}
        # pytest exports COLUMNS and LINES, which would overrule the terminal's own size.
        words = shlex.join(
            ["env", "-u", "COLUMNS", "-u", "LINES", *(f"{k}={v}" for k, v in variables.items()), *argv]
        )
        script = f"cd /; echo before the program; {words}; echo exit code $?; exec cat"
        self._tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "sh", "-c", script)

    def keys(self, *names: str) -> None:
        """Press keys, by tmux's names (`b`, `Enter`, `C-c`)."""
        self._tmux("send-keys", *names)

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        self._tmux("send-keys", "-l", line)
        self._tmux("send-keys", "Enter")

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    @property
    def command(self) -> list[str]:
        """The words that begin a tmux command to this server."""
        return ["tmux", "-S", str(self._socket), "-f", "/dev/null"]

    def detach(self) -> None:
        """Send every attached client away."""
        subprocess.run([*self.command, "detach-client", "-s", "0"], capture_output=True, timeout=30)

    def screen(self) -> str:
        """What is on screen now, without trailing blanks."""
        return "\n".join(line.rstrip() for line in self._tmux("capture-pane", "-p").splitlines())

    def wait_for(self, *texts: str, deadline: float = 30.0) -> str:
        """The first screen that shows every text; fails with the last screen after `deadline` seconds."""
        end = time.monotonic() + deadline
        while True:
            screen = self.screen()
            if all(text in screen for text in texts):
                return screen
            missing = [text for text in texts if text not in screen]
            assert time.monotonic() < end, f"{missing} did not appear within {deadline:g} s:\n{screen}"
            time.sleep(0.05)

    def wait_for_any(self, *texts: str, deadline: float = 30.0) -> str:
        """The first of the texts that appears."""
        end = time.monotonic() + deadline
        while True:
            screen = self.screen()
            for text in texts:
                if text in screen:
                    return text
            assert time.monotonic() < end, f"none of {texts} appeared within {deadline:g} s:\n{screen}"
            time.sleep(0.05)

    def pane_pid(self) -> int:
        """The shell that runs the command."""
        return int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def modes(self) -> dict[str, str]:
        """What the program left the terminal in."""
        names = ("alternate_on", "mouse_any_flag", "cursor_flag", "bracket_paste_flag")
        form = " ".join(f"{name}=#{{{name}}}" for name in names)
        return dict(word.split("=") for word in self._tmux("display-message", "-p", form).split())

    def close_window(self) -> None:
        """What closing a terminal window does: the program gets SIGHUP."""
        self._tmux("kill-window")

    def kill(self) -> None:
        """End the server and everything in it."""
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], capture_output=True, timeout=30)


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    """A terminal that is gone after the test, whatever happened."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    with tempfile.TemporaryDirectory(prefix="cttui-home-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o777)  # an ordinary user's program keeps its memory there
        terminal = Tmux(home)
        try:
            yield terminal
        finally:
            terminal.kill()
