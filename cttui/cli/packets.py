"""`cttui packets FILE`: a pcap or pcapng file as a log, one line a packet. No probe, no privilege."""

import sys

from cttui.model.capture_file import CaptureFile, CaptureFileError
from cttui.model.faults import FaultError
from cttui.model.packet_match import matches, parse_packets
from cttui.model.packet_words import packet_line
from cttui.model.safe import clean


def run(file: str, text: str = "", *, delta: bool) -> None:
    """Print the log, or the packets of a filter; what is wrong with the file follows on stderr.

    `file` may be a pipe, or `-` for standard input. `delta` gives each time as seconds since the line before. Raises FaultError "no-file", "bad-file" or
    "bad-filter".
    """
    wanted = parse_packets(text)
    try:
        capture = CaptureFile(_stdin() if file == "-" else file)
    except CaptureFileError as e:
        raise FaultError(
            "bad-file",
            f"{'Standard input' if file == '-' else file}: {e}",
            "`cttui packets` reads pcap and pcapng: tcpdump -w FILE writes one.",
        ) from None
    except OSError as e:
        raise FaultError("no-file", f"{file} can't be read: {e.strerror}.") from None
    try:
        before: int | None = None
        for row in capture.rows():
            if not matches(wanted, row):
                continue
            line = packet_line(row, time_format="delta" if delta else "absolute", previous_ns=before)
            fate = f"  ({row.fate})" if row.fate else ""
            # The words are made of packet bytes and of names that the file gives.
            print(clean(line + fate))
            before = row.time_ns
    finally:
        capture.close()
    for note in capture.notes:
        print(f"cttui: {clean(note)}", file=sys.stderr)


def _stdin() -> int:
    """Standard input; FaultError "no-file" where that is a person."""
    if sys.stdin.isatty():
        raise FaultError(
            "no-file",
            "Standard input is this terminal.",
            "tcpdump -c 100 -w - | cttui packets - reads a pipe.",
        )
    return sys.stdin.fileno()
