"""The SSH connection that this program is watched through: a packet log that showed it would feed on itself."""

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path

Connection = tuple[str, int, str, int]
"""Client and its port, server and its port."""
_VARIABLE = "SSH_CONNECTION"
_MOST_ANCESTORS = 40


def watched_through() -> Connection | None:
    """The connection by SSH_CONNECTION (sshd(8)), None where there is none.

    sudo and su leave that variable out: then the processes we descend from are asked, as far as we may read theirs.
    """
    for text in _values():
        if (found := _parsed(text)) is not None:
            return found
    return None


def _values() -> Iterator[str]:
    yield os.environ.get(_VARIABLE, "")
    pid = os.getppid()
    for _ in range(_MOST_ANCESTORS):
        if pid <= 1:
            return
        process = Path(f"/proc/{pid}")
        try:
            for word in (process / "environ").read_bytes().split(b"\0"):
                name, _, value = word.partition(b"=")
                if name == _VARIABLE.encode():
                    yield value.decode("ascii", "replace")
        except OSError:
            pass  # somebody else's
        try:
            pid = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return


def _parsed(text: str) -> Connection | None:
    words = text.split()
    if len(words) != 4 or not (words[1].isdigit() and words[3].isdigit()):
        return None
    try:
        for address in (words[0], words[2]):
            ipaddress.ip_address(address)
    except ValueError:
        return None
    return words[0], int(words[1]), words[2], int(words[3])
