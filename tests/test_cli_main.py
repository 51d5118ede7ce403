"""The command line by itself: wrong usage is a sentence and exit code 2, and capture files open as a log."""

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cttui.cli import faults
from cttui.cli import main as cli
from cttui.model.faults import Fault
from cttui.model.packet import PacketRow
from cttui.model.pcapng import write_pcapng

WRONG: dict[str, str] = {
    "bogus": "invalid choice",
    "--bogus": "unrecognized arguments",
    "--netns": "expected one argument",
    "--pid x": "invalid int value",
    "snapshot --netns a --pid 1": "not allowed with argument",
    "snapshot --sandbox --pid 1": "not allowed with argument",
    "--sandbox snapshot --pid 1": "One target only",
    "--netns nowhere snapshot": "no network namespace nowhere",
    "--pid 4194305 flows": "no process 4194305",
    "--free -4 --sandbox": "--free -4 is below 0",
    "--free 7 snapshot": "belongs to the dashboard",
    "--record x tale ten-syns": "belongs to the dashboard",
    "flows --output xml": "invalid choice",
    "flows -o xml": "invalid choice",
    "flows --limit -1": "below 0",
    "flows --limit x": "invalid int value",
    "flows --sort colour": "no column colour",
    "flows dport=x": "is no port",
    "flows (tcp": "cttui:",
    "flows -p tcp": "stands after --",
    "tale no-such-tale": "no-such-tale",
    "tale --script": "one tale",
    "tale ten-syns --all": "--all",
    "packets": "required",
    "config --bogus": "unrecognized arguments",
    "": "needs a terminal",
    "--sandbox": "needs a terminal",
    "--replay /nowhere/file": "needs a terminal",
    "tour": "needs a terminal",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_usage_is_a_sentence(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(shlex.split(line)) == faults.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    first, *rest = err.splitlines()
    assert first.startswith("cttui: ")
    assert all(word.startswith("       ") for word in rest)
    assert WRONG[line] in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["flows", "--help"], ["snapshot", "--help"]])
def test_help_and_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 0
    assert "cttui" in capsys.readouterr().out


def test_a_filters_mistake_is_pointed_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["flows", "tcp dport=htps"]) == faults.USAGE
    _, text, pointer, *_ = capsys.readouterr().err.splitlines()
    assert text.strip() == "tcp dport=htps"
    assert text[pointer.index("^") :].startswith("htps")


def test_a_fault_is_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    code = faults.report(Fault("probe-died", "It said \x1b[31m[/foo]\u202e.\nsecond", "Try\r again."))
    assert code == faults.FAULT
    assert capsys.readouterr().err.splitlines() == [
        "cttui: It said \\x1b[31m[/foo]\\u202e.", "       second", "       Try\\r again.",
    ]  # fmt: skip


def test_ctrl_c_is_exit_130_and_silent() -> None:
    """A run that is interrupted while it waits for Enter."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "cttui", "tale", "--step", "ten-syns"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(8) == "ten-syns"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == faults.INTERRUPTED
        assert process.stderr is not None
        assert process.stderr.read() == ""


# -------------------------------------------------------------------- capture files


def _rows() -> list[PacketRow]:
    udp = bytes.fromhex("4500001c000000004011 66ce 0a0000010a000002 03e80035 0008 0000".replace(" ", ""))
    return [
        PacketRow(
            seq=n + 1, time_ns=1_700_000_000_000_000_000 + n * 1_500_000, interface="tun\x1b[31m0", direction="in",
            ethertype=0x0800, length=len(udp), data=udp,
        )
        for n in range(3)
    ]  # fmt: skip


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Three packets; the second has a hostile comment."""
    path = tmp_path / "three.pcapng"
    with path.open("wb") as stream:
        write_pcapng(stream, _rows(), lambda row: "lost \x1b[31m[/foo]\u202e" if row.seq == 2 else "")
    return path


def test_packets_are_lines(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["packets", str(capture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert re.match(r"\d\d:\d\d:\d\d\.\d{6} ", line)
        assert "IP 10.0.0.1.1000 > 10.0.0.2.53: UDP" in line
        assert line.isprintable() and "\u202e" not in line
    assert "lost \\x1b[31m[/foo]\\u202e" in lines[1]


def test_times_as_differences(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["packets", "--delta", str(capture)]) == 0
    times = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert times == ["0.000000", "0.001500", "0.001500"]


def test_packets_of_a_filter(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["packets", str(capture), "udp", "dport=53", "--delta"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert cli.main(["packets", str(capture), "not", "port=53"]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["packets", str(capture), "state=SYN_SENT"]) == faults.FAULT
    assert "A packet has no state" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["{} --delta dport=53", "--delta {} dport=53", "{} dport=53 --delta", "{} udp --delta dport=53", "{} --delta -- udp"]
)  # fmt: skip
def test_options_stand_anywhere(words: str, capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["packets", *words.format(capture).split()]) == 0
    times = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert times == ["0.000000", "0.001500", "0.001500"]


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_packets_come_through_a_pipe(name: str, capture: Path) -> None:
    argv = [sys.executable, "-P", "-m", "cttui", "packets", name, "dport=53"]
    done = subprocess.run(argv, input=capture.read_bytes(), capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == 3 and done.stderr == b""
    none = subprocess.run(argv, input=b"", capture_output=True, check=False)
    assert none.returncode == faults.FAULT and b"The file is empty" in none.stderr


def test_what_is_wrong_with_a_capture_file(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["packets", str(tmp_path / "none")]) == faults.FAULT
    assert "No such file" in capsys.readouterr().err
    assert cli.main(["packets", str(tmp_path)]) == faults.FAULT
    assert "directory" in capsys.readouterr().err
    text = tmp_path / "text"
    text.write_text("this is no capture")
    assert cli.main(["packets", str(text)]) == faults.FAULT
    assert "neither pcap nor pcapng" in capsys.readouterr().err
    cut = tmp_path / "cut"
    cut.write_bytes(capture.read_bytes()[:-10])
    assert cli.main(["packets", str(cut)]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "cut short" in err and "2 packets before that" in err
    one = tmp_path / "one"
    with one.open("wb") as stream:
        write_pcapng(stream, _rows()[:1])
    one.write_bytes(one.read_bytes() + b"\6\0\0\0")
    assert cli.main(["packets", str(one)]) == 0
    assert "1 packet before that" in capsys.readouterr().err
