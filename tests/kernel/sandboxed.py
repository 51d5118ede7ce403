"""Runs a piece of Python in a fresh sandbox, as root or as an ordinary user, and returns what it reports."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACES = ("--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

PRELUDE = """
import asyncio, json, os, subprocess, sys, time
from cttui.kernel import sysctl
from cttui.model.views import *
from cttui.model.actions import *
from cttui.model.faults import *
from cttui.model.pages import *
from cttui.model.jobs import *
from cttui.model.messages import *
from cttui.probe.sandbox import open_sandbox
def sh(line):
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout
def counters(family="iptables"):
    \"\"\"chain of table → packets of its rules, from iptables-save -c.\"\"\"
    out, table = {}, ""
    for line in sh(family + "-save -c").splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("["):
            out.setdefault(table + " " + line.split()[2], []).append(int(line[1:].split(":")[0]))
    return out
def stats():
    total = {}
    for line in sh("conntrack -S").splitlines():
        for word in line.split()[1:]:
            name, _, n = word.partition("=")
            total[name] = total.get(name, 0) + int(n)
    return total
def report(**what):
    print(json.dumps(what))
"""


def python_for_nobody() -> list[str]:
    """The words that start a Python as an ordinary user, with what we have installed."""
    return list(_python_for_nobody())


@functools.cache
def _python_for_nobody() -> tuple[str, ...]:
    path = os.pathsep.join(p for p in (str(REPOSITORY), *sys.path) if p)
    for candidate in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}", "/usr/bin/python3"):
        argv = [*NOBODY, "env", f"PYTHONPATH={path}", candidate]
        probe = "import sys, cttui, numpy, msgspec; assert sys.version_info[:2] == " + repr(
            sys.version_info[:2]
        )
        try:
            if subprocess.run([*argv, "-c", probe], capture_output=True, cwd="/").returncode == 0:
                return tuple(argv)
        except OSError:
            continue
    pytest.skip("no Python with our packages is readable to an ordinary user here")


def without_user_namespaces(argv: list[str]) -> list[str]:
    """The command of `python_for_nobody`, where no user namespace can be made.

    It runs in a user namespace inside one whose user.max_user_namespaces is used up by it: that limit counts
    per namespace (namespaces(7)), so the host's is left alone.
    """
    at = argv.index("env")
    script = 'echo 1 >/proc/sys/user/max_user_namespaces && exec unshare --user --map-user=1000 "$@"'
    return [*argv[:at], "unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", *argv[at:]]


def in_mounts(script: str) -> tuple[str, ...]:
    """A prefix: a mount namespace of its own in which `script` has run."""
    return ("unshare", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh")


NO_CONNTRACK = ("unshare", "--net", *in_mounts("mount -t tmpfs none /proc/sys/net/netfilter"))
NO_FIREWALL_TOOLS = in_mounts(
    "for f in /usr/sbin/xtables-nft-multi /usr/sbin/xtables-legacy-multi /usr/sbin/nft; do "
    "[ ! -e $f ] || mount --bind /dev/null $f; done"
)


def run(code: str, *, user: bool = False, timeout: float = 60, **args: object) -> dict[str, Any]:
    """The last line that `code` reported, run after PRELUDE in namespaces of its own; it finds `args` in ARGS."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if user:
        argv = [*python_for_nobody()]
        argv = [*argv[:-1], "unshare", "--user", "--map-root-user", *NAMESPACES, argv[-1]]
    else:
        argv = ["env", f"PYTHONPATH={REPOSITORY}", "unshare", *NAMESPACES, sys.executable]
    done = subprocess.run(
        [*argv, "-c", f"{PRELUDE}\nARGS = {args!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    out: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return out
