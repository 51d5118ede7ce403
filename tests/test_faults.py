"""Faults that need no kernel: other systems, other versions, and pipes on which something else speaks."""

import asyncio
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cttui.cli import main as cli
from cttui.client import link as link_module
from cttui.client.link import Link
from cttui.client.targets import Target
from cttui.kernel import ctnetlink
from cttui.model import framing
from cttui.model.faults import Fault, FaultError
from cttui.model.messages import PROTOCOL, Hello, Welcome
from cttui.probe import rights

SHELL = ("sh", "-c")


def _open(script: str) -> Fault:
    """The fault of a probe that a shell script stands in for; "$@" in it is the real one."""

    async def attempt() -> Fault:
        try:
            link = await Link.open(Target("host", "HOST", (*SHELL, script, "sh")))
        except FaultError as e:
            return e.fault
        await link.close()
        raise AssertionError("it opened")

    return asyncio.run(attempt())


@pytest.mark.parametrize("argv", [["snapshot"], ["flows"], ["tale", "ten-syns"], [], ["packets", "x"]])
def test_not_linux(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Linux kernel's connection tracking; this is darwin" in err
    assert "ssh -t HOST cttui" in err


def test_no_ctnetlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nfnetlink answers for a subsystem that is not there is EINVAL (nfnetlink_rcv_msg)."""

    def refuse() -> dict[str, int]:
        raise OSError(22, os.strerror(22))

    monkeypatch.setattr(ctnetlink, "stats", refuse)
    with pytest.raises(FaultError) as caught:
        rights.may_use_ctnetlink()
    assert caught.value.fault.code == "no-ctnetlink"
    assert "modprobe nf_conntrack_netlink" in caught.value.fault.remedy


def test_a_banner_before_the_greeting_is_quoted() -> None:
    fault = _open('echo "Welcome to this machine"; exec "$@"')
    assert fault.code == "bad-frame"
    assert "Welcome to this machine" in fault.sentence
    assert "print something before the probe starts?" in fault.remedy


def test_a_short_banner_is_quoted_when_no_greeting_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newline alone makes a length that never comes: silence is told from noise."""
    monkeypatch.setattr(link_module, "_WELCOME_S", 0.5)
    fault = _open('echo; exec "$@"')
    assert fault.code in ("bad-frame", "no-welcome")
    noise = _open("printf '\\n\\0\\0\\0hello'; exec sleep 30")
    assert noise.code == "bad-frame"
    assert "hello" in noise.sentence
    assert _open("exec sleep 30").code == "no-welcome"


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=200))
def test_noise_is_a_fault_or_an_unfinished_frame(noise: bytes) -> None:
    decoder = framing.client_decoder()
    try:
        messages = decoder.feed(noise)
    except FaultError as e:
        assert e.fault.code == "bad-frame"
        return
    assert decoder.pending or messages


def test_another_version_on_the_other_side() -> None:
    """Either way round: an older probe, and a probe that refuses an older client."""
    welcome = framing.encode(
        Welcome(
            protocol=PROTOCOL + 1,
            app="9.9",
            target="host",
            netns=1,
            kernel="k",
            user="root",
            writes=False,
            can=[],
        )
    )
    octal = "".join(f"\\{byte:03o}" for byte in welcome)
    fault = _open(f"printf '{octal}'; exec cat >/dev/null")
    assert fault.code == "version"
    assert "9.9" in fault.sentence and "same version" in fault.remedy

    probe = [sys.executable, "-P", "-m", "cttui", "probe"]
    done = subprocess.run(
        probe, input=framing.encode(Hello(PROTOCOL + 1, "9.9")), capture_output=True, timeout=30
    )
    (refusal,) = framing.client_decoder().feed(done.stdout)
    assert isinstance(refusal, Fault)
    assert refusal.code == "version"
    assert (
        f"protocol {PROTOCOL}" in refusal.sentence
        and f"protocol {PROTOCOL + 1} (cttui 9.9)" in refusal.sentence
    )
    assert done.returncode in (0, 2)  # its stdin ended, too
    assert b"Traceback" not in done.stderr


def test_noise_into_a_probe_ends_it_with_a_fault() -> None:
    probe = [sys.executable, "-P", "-m", "cttui", "probe"]
    done = subprocess.run(probe, input=b"GET / HTTP/1.1\r\n\r\n", capture_output=True, timeout=30)
    (refusal,) = framing.client_decoder().feed(done.stdout)
    assert isinstance(refusal, Fault)
    assert refusal.code == "bad-frame"
    assert (done.returncode, done.stderr) == (2, b"")


def test_last_words_of_a_probe() -> None:
    fault = _open("echo first >&2; echo 'the reason' >&2; exit 7")
    assert fault.code == "probe-died"
    assert "exit code 7" in fault.sentence and "the reason" in fault.sentence
    silent = _open("exit 0")
    assert "It said nothing" in silent.sentence
