"""How this program is started as root."""

import functools
import os
import shlex
import shutil
import sys
from pathlib import Path

SECURE_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where sudo looks for commands everywhere (secure_path of sudoers(5); on Debian in /usr/local, too). pipx, uv and a
venv put nothing there."""


@functools.cache
def as_root() -> str:
    """The command for a shell, `sudo cttui` where sudo finds it."""
    if shutil.which("cttui", path=SECURE_PATH):
        return "sudo cttui"
    found = shutil.which("cttui") or str(Path(sys.executable).with_name("cttui"))
    if not os.access(found, os.X_OK):
        return f"sudo {shlex.quote(sys.executable)} -m cttui"
    home = os.environ.get("HOME", "")
    if home and found.startswith(f"{home}/"):
        return f"sudo ~/{shlex.quote(found.removeprefix(f'{home}/'))}"
    return f"sudo {shlex.quote(found)}"
