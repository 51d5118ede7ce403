"""How packets get into the sandbox: write(2) to a tun, sendmmsg(2) to a packet socket on a veth pair.

Both take blocks of packets as packet_bytes.burst makes them, and send any part of them in burst order.
Nothing is lost silently: what the device takes is counted as sent, what it refuses by its errno, and a
busy device is asked again.
"""

import ctypes
import errno
import os
import select
import time
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from operator import length_hint
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cttui.kernel.links import link_counters
from cttui.probe.packet_bytes import Packets

BUSY = (errno.EAGAIN, errno.ENOBUFS)
BUSY_NAP_S = 0.0002
BUSY_LIMIT_S = 2.0
"""A device that takes nothing for this long is not going to (it is down, or its queue is stuck)."""


class StuckError(Exception):
    """The device has taken nothing for BUSY_LIMIT_S; before that it took `sent` packets of those to be sent."""

    def __init__(self, sent: int) -> None:
        super().__init__()
        self.sent = sent


class Wire(Protocol):
    """A device's sending side. `errors`: errno name → packets refused."""

    pad: int
    errors: dict[str, int]

    def load(self, blocks: Sequence[Packets]) -> None:
        """Make these packets the ones to send (block t holds packets t, t + n, t + 2n, …)."""

    def send(self, first: int, last: int) -> int:
        """Send packets first … last-1 of what is loaded; how many were accepted. Raises StuckError."""

    def lost(self) -> int:
        """Packets accepted since the start of the burst that the device says it dropped after all."""


def _refuse(errors: dict[str, int], code: int) -> None:
    name = errno.errorcode.get(code, str(code))
    errors[name] = errors.get(name, 0) + 1


class _Patience:
    """Waits for a busy device, and gives up when it has taken nothing for too long."""

    def __init__(self) -> None:
        self._since: float | None = None

    def wait(self, fd: int, sent: int) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._since > BUSY_LIMIT_S:
            raise StuckError(sent)
        select.select([], [fd], [], BUSY_NAP_S)
        time.sleep(BUSY_NAP_S)  # ENOBUFS comes with a writable descriptor

    def rewarded(self) -> None:
        self._since = None


class Tun:
    """One write a packet; netfilter has counted the packet when the call returns (tun_get_user)."""

    pad = 0

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rows: list[memoryview] = []
        self.errors: dict[str, int] = {}

    def load(self, blocks: Sequence[Packets]) -> None:
        n = len(blocks)
        rows: list[memoryview] = [memoryview(b"")] * sum(len(block) for block in blocks)
        for t, block in enumerate(blocks):
            size = block.shape[1]
            flat = memoryview(block.reshape(-1))  # type: ignore[arg-type]
            rows[t::n] = [flat[at : at + size] for at in range(0, len(block) * size, size)]
        self._rows = rows

    def send(self, first: int, last: int) -> int:
        write, fd, rows, patience = os.write, self._fd, self._rows, _Patience()
        refused, at = 0, first
        while at < last:
            left = iter(rows[at:last])
            try:
                deque(map(write, repeat(fd), left), maxlen=0)  # no bytecode between two packets
                at = last
            except OSError as e:
                refused_at = last - length_hint(left) - 1  # the one refused has been taken from `left`
                if refused_at > at:
                    patience.rewarded()
                at = refused_at
                if e.errno in BUSY:
                    patience.wait(fd, at - first - refused)
                    continue
                _refuse(self.errors, e.errno or 0)
                refused += 1
                at += 1
            patience.rewarded()
        return last - first - refused

    def lost(self) -> int:
        return 0


# struct iovec, struct mmsghdr on 64-bit Linux (socket.h)
_IOVEC = np.dtype([("base", "u8"), ("len", "u8")])
_MMSGHDR = np.dtype(
    [("name", "u8"), ("namelen", "u4"), ("pad1", "u4"), ("iov", "u8"), ("iovlen", "u8"), ("control", "u8"),
     ("controllen", "u8"), ("flags", "i4"), ("pad2", "u4"), ("len", "u4"), ("pad3", "u4")]
)  # fmt: skip


class Veth:
    """Frames through a packet socket on the pair's sending end, up to 1024 a call."""

    pad = 14
    VLEN = 1024  # UIO_MAXIOV

    def __init__(self, fd: int, link_header: bytes, name: str) -> None:
        self._fd = fd
        self._header = np.frombuffer(link_header, np.uint8)
        self._name = name
        self._dropped = self._device_drops()
        self._sendmmsg: Any = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self._blocks: Sequence[Packets] = ()
        self._iov: NDArray[np.void] = np.zeros(0, _IOVEC)
        self._messages: NDArray[np.void] = np.zeros(0, _MMSGHDR)
        self.errors: dict[str, int] = {}

    def _device_drops(self) -> int:
        return link_counters(self._name)["tx_dropped"]

    def load(self, blocks: Sequence[Packets]) -> None:
        n, total = len(blocks), sum(len(block) for block in blocks)
        if total != len(self._iov):
            self._iov = np.zeros(total, _IOVEC)
            self._messages = np.zeros(total, _MMSGHDR)
            self._messages["iov"] = self._iov.ctypes.data + 16 * np.arange(total, dtype=np.uint64)
            self._messages["iovlen"] = 1
        for t, block in enumerate(blocks):
            block[:, :12] = self._header
            block[:, 12:14] = np.where(block[:, 14:15] >> 4 == 6, (0x86, 0xDD), (0x08, 0x00))
            size = block.shape[1]
            at = block.ctypes.data + np.arange(len(block), dtype=np.uint64) * np.uint64(size)
            self._iov["base"][t::n] = at
            self._iov["len"][t::n] = size
        self._blocks = blocks  # the addresses above live as long as these

    def send(self, first: int, last: int) -> int:
        base, patience = self._messages.ctypes.data, _Patience()
        refused, at = 0, first
        while at < last:
            n = self._sendmmsg(self._fd, base + 64 * at, min(last - at, self.VLEN), 0)
            if n > 0:
                at += n
            else:
                code = ctypes.get_errno()
                if code in BUSY:
                    patience.wait(self._fd, at - first - refused)
                    continue
                if code == errno.EINTR:
                    continue
                _refuse(self.errors, code)
                refused += 1
                at += 1
            patience.rewarded()
        return last - first - refused

    def lost(self) -> int:
        return self._device_drops() - self._dropped
