"""The connection we are watched through is found behind sudo too, and nothing but an address is believed."""

import os
import subprocess
import sys

import pytest

from cttui.client.ssh import watched_through

WORDS = "198.51.100.7 50000 192.0.2.1 22"
ASK = [sys.executable, "-P", "-c", "from cttui.client.ssh import watched_through; print(watched_through())"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (WORDS, ("198.51.100.7", 50000, "192.0.2.1", 22)),
        ("fe80::7%eth0 50000 fe80::1%eth0 22", ("fe80::7%eth0", 50000, "fe80::1%eth0", 22)),
        ("198.51.100.7 50000 192.0.2.1", None),
        ("a 50000 b 22", None),
        ("198.51.100.7 x 192.0.2.1 22", None),
    ],
)
def test_the_variable(text: str, found: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", text)
    monkeypatch.setattr(os, "getppid", lambda: 0)  # this machine may be reached over SSH
    assert watched_through() == found


def test_an_ancestor_is_asked_where_the_variable_was_left_out() -> None:
    """As under sudo: the shell of the login has it, the program has not."""
    inner = ["env", "-u", "SSH_CONNECTION", *ASK]
    done = subprocess.run(
        ["sh", "-c", '"$@"; true', "login", *inner],  # `true` keeps the shell from becoming the program
        capture_output=True, text=True, check=True, env={**os.environ, "SSH_CONNECTION": WORDS},
    )  # fmt: skip
    assert done.stdout == "('198.51.100.7', 50000, '192.0.2.1', 22)\n"
