"""Filling a sandbox's table, and emptying it again of what filled it.

One message is packed, then repeated and patched with numpy: addresses and ports differ, the rest is the
same. Fillers stand in a zone of their own with a mark of their own: they count towards the limit, match
no packet, and can be told from everything else. They are deleted one by one, each by tuple, zone and id:
a filtered flush would be shorter, but on a kernel that ignores the filter it empties the table.
"""

import errno
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cttui.flows.columns import Columns, Interned
from cttui.kernel.ctdecode import Decoder
from cttui.kernel.ctencode import (
    MARK,
    MARK_MASK,
    ZONE,
    Identity,
    address,
    be16,
    be32,
    create_message,
    delete_message,
)
from cttui.kernel.ctnetlink import Dump
from cttui.kernel.netlink import NLMSG_ERROR, Netlink, error_of, split
from cttui.model.flow import (
    AF_INET,
    ASSURED,
    CONFIRMED,
    FILLER_MARK,
    FILLER_ZONE,
    IPPROTO_TCP,
    SEEN_REPLY,
    Flow,
)

Messages = NDArray[np.uint8]

PER_SEND = 500
TIMEOUT_S = 86_400
_FIRST_SOURCE = 0x64400000
"""100.64.0.0/10 (RFC 6598), and 4,000 million tuples from there on before one repeats."""
_PORTS = 60_000
_FIRST_PORT = 1024
_ESTABLISHED = 3


@dataclass(slots=True)
class Filled:
    """Progress of a fill or of its removal."""

    asked: int = 0
    done: int = 0
    errors: Counter[int] = field(default_factory=Counter)
    """errno → how often: ENOMEM is a full table, EEXIST an entry that was there, ENOENT one that was not."""


class Filler:
    """Makes filler entries, never the same tuple twice: a refill doesn't meet what is left of the last one."""

    def __init__(self, *, zone: int = FILLER_ZONE, mark: int = FILLER_MARK) -> None:
        self.zone, self.mark = zone, mark
        self._serial = 0

    def fill(self, n: int, *, assured: bool = True, timeout_s: int = TIMEOUT_S) -> Iterator[Filled]:
        """Create `n` entries, PER_SEND a step (about 1 ms); ends early when the kernel refuses a whole step."""
        template = _template(self.zone, self.mark, assured, timeout_s)
        messages = np.repeat(np.frombuffer(template, np.uint8)[None], PER_SEND, axis=0)
        socket = Netlink()
        filled = Filled()
        try:
            while filled.asked < n:
                count = min(PER_SEND, n - filled.asked)
                serials = np.arange(self._serial, self._serial + count, dtype=np.int64)
                self._serial += count
                part = messages[:count]
                _patch(part, template, _SRC, _FIRST_SOURCE + serials // _PORTS)
                _patch(part, template, _SPORT.to_bytes(2, "big"), _FIRST_PORT + serials % _PORTS)
                socket.send(part.tobytes())
                filled.asked += count
                refused = _errors(socket)
                filled.errors += refused
                filled.done += count - refused.total()
                yield filled
                if refused.total() >= count:
                    return
        finally:
            socket.close()

    def unfill(self) -> Iterator[Filled]:
        """Delete the fillers: dump them, delete exactly these, until a dump holds none; a few ms a step."""
        # The kernel may ignore either filter (CTA_ZONE came with 6.8), so each row is looked at again here.
        only = be32(MARK, self.mark) + be32(MARK_MASK, 0xFFFFFFFF) + be16(ZONE, self.zone)
        dump = Dump(Decoder(Interned()), filter=only, family=AF_INET)
        socket = Netlink()
        filled = Filled()
        try:
            found = True
            while found:
                found = False
                dump.start()
                while (batches := dump.step()) is not None:
                    for batch in batches:
                        messages = self.deletions(batch.columns)
                        for first in range(0, len(messages), PER_SEND):
                            part = messages[first : first + PER_SEND]
                            socket.send(part.tobytes())
                            refused = _errors(socket)
                            filled.asked += len(part)
                            filled.errors += refused
                            filled.done += len(part) - refused.total()
                            found = found or refused.total() < len(part)
                    yield filled
        finally:
            dump.close()
            socket.close()

    def deletions(self, columns: Columns) -> Messages:
        """The DELETEs of the fillers among these flows, u1[n, length]."""
        if not columns.keys() >= _CARRIED:
            return np.zeros((0, 0), np.uint8)
        mine = (
            (columns["zone"] == self.zone)
            & (columns["mark"] == self.mark)
            & (columns["proto"] == IPPROTO_TCP)
        )
        if "zone_dir" in columns:
            mine &= columns["zone_dir"] == 0  # a zone of one direction only: not ours
        one = Identity(AF_INET, IPPROTO_TCP, _SRC, _DST, _SPORT, _DPORT, self.zone, 0, _ID)
        template = delete_message(one, 0, ack=False)
        messages = np.repeat(np.frombuffer(template, np.uint8)[None], mine.sum(), axis=0)
        _patch(messages, template, _SRC, columns["orig_src0"][mine])
        _patch(messages, template, _DST, columns["orig_dst0"][mine])
        _patch(messages, template, _SPORT.to_bytes(2, "big"), columns["orig_sport"][mine])
        _patch(messages, template, _DPORT.to_bytes(2, "big"), columns["orig_dport"][mine])
        _patch(messages, template, _ID.to_bytes(4, "big"), columns["id"][mine])
        return messages


# Values that stand nowhere else in a message: where they are, the real ones go.
_SRC, _DST, _SPORT, _DPORT, _ID = b"\xaa\xa1\xa2\xa3", b"\xbb\xb1\xb2\xb3", 0xCCC1, 0xDDD1, 0xEEE1E2E3
_CARRIED = {"zone", "mark", "proto", "orig_src0", "orig_dst0", "orig_sport", "orig_dport", "id"}


def _patch(messages: Messages, template: bytes, placeholder: bytes, values: NDArray[Any]) -> None:
    """Put big-endian values, one a message, wherever the placeholder stands in the template."""
    size = len(placeholder)
    octets = values.astype(f">u{size}").view(np.uint8).reshape(-1, size)
    at = template.find(placeholder)
    while at >= 0:
        messages[:, at : at + size] = octets
        at = template.find(placeholder, at + size)


def _template(zone: int, mark: int, assured: bool, timeout_s: int) -> bytes:
    """One message that creates a filler."""
    target, port = address("192.0.2.1"), 80
    flow = Flow(
        id=0, family=AF_INET, proto=IPPROTO_TCP, orig_src=_SRC, orig_dst=target, orig_sport=_SPORT, orig_dport=port,
        reply_src=target, reply_dst=_SRC, reply_sport=port, reply_dport=_SPORT,
        status=CONFIRMED | (SEEN_REPLY | ASSURED if assured else 0), timeout_s=timeout_s, state=_ESTABLISHED,
        mark=mark, zone=zone,
    )  # fmt: skip
    return create_message(flow, 0, ack=False)


def _errors(socket: Netlink) -> Counter[int]:
    found: Counter[int] = Counter()
    try:
        for data in socket.receive():
            for kind, _, _, payload in split(data):
                if kind == NLMSG_ERROR and (code := error_of(payload)):
                    found[code] += 1
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        found[errno.ENOBUFS] += 1
    return found
