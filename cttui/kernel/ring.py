"""The capture ring: TPACKET_V3 on a packet socket, read a block at a time.

Layouts: struct tpacket_block_desc, tpacket3_hdr and sockaddr_ll in include/uapi/linux/if_packet.h. The
socket is SOCK_DGRAM, so a packet begins at its network header whatever the link type. Closing the socket
ends the capture; so does our death.
"""

import ctypes
import mmap
import os
import socket
import struct
import time
from dataclasses import dataclass

import numpy as np

from cttui.kernel import bpf
from cttui.kernel.packet_columns import HEADERS, NO_VLAN, PACKET, SNAP, Records, decode_headers

BLOCK = 1 << 18
BLOCKS = 64  # 16 MiB: half a second of 200,000 packets a second
RETIRE_MS = 50
"""How long the kernel keeps a block that is not full: the age of the newest packet on the screen."""
BLOCKS_A_STEP = 4
STEP_S = 0.004

_SOL_PACKET, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 263, 5, 6, 10
_TPACKET_V3 = 2
_SO_ATTACH_FILTER = 26
_ETH_P_ALL = 3
_STATUS_USER = 1
_VLAN_VALID = 1 << 4

_HEADER = (
    96  # bytes before the packet: TPACKET_ALIGN(tpacket3_hdr + sockaddr_ll) + 16, af_packet.c: tpacket_rcv
)
_RECORD = np.dtype({
    "names": ["next", "sec", "nsec", "caplen", "length", "status", "net", "tci", "protocol", "ifindex", "pkttype", "data"],
    "formats": ["<u4", "<u4", "<u4", "<u4", "<u4", "<u4", "<u2", "<u4", ">u2", "<u4", "u1", ("u1", (SNAP,))],
    "offsets": [0, 4, 8, 12, 16, 20, 26, 32, 50, 52, 58, _HEADER],
    "itemsize": _HEADER + SNAP,
})  # fmt: skip
_MOST_A_BLOCK = BLOCK // 104 + 1  # the smallest record: 96 bytes of header, 8 of packet (V3_ALIGNMENT)
_libc = ctypes.CDLL(None, use_errno=True)
_u32 = struct.Struct("=I")
_u32x2 = struct.Struct("=II")


@dataclass(frozen=True, slots=True)
class PacketBatch:
    """Packets in the order of their capture: PACKET and HEADERS records, valid until the ring's next step."""

    packets: Records
    headers: Records

    def __len__(self) -> int:
        return len(self.packets)


class Ring:
    """A running capture on one interface, or on all of them for "".

    `program` is a classic BPF program (see kernel.bpf) whose return value is the snap length; without one
    everything is taken. Raises OSError: EPERM without CAP_NET_RAW, ENODEV for an unknown interface, ENOMEM.
    """

    def __init__(self, interface: str = "", program: bytes = b"", blocks: int = BLOCKS) -> None:
        self.interface = interface
        self.count = 0
        self._drops = self._seen = 0
        self._block = 0
        self._blocks = blocks
        self.names: dict[int, str] = {}
        # Protocol 0 takes nothing until bind: no packet comes in before filter and ring are set.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        try:
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
            attach(self._socket, program or bpf.accept_all())
            request = struct.pack("=7I", BLOCK, blocks, 2048, BLOCK * blocks // 2048, RETIRE_MS, 0, 0)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
            self._map = mmap.mmap(self._socket.fileno(), BLOCK * blocks)
            _bind(self._socket, socket.if_nametoindex(interface) if interface else 0)
        except BaseException:
            self._socket.close()
            raise
        self._words = np.frombuffer(self._map, "<u8")
        self._packets = np.zeros(BLOCKS_A_STEP * _MOST_A_BLOCK, PACKET)
        self._headers = np.zeros(len(self._packets), HEADERS)

    def fileno(self) -> int:
        """For add_reader: readable while a block is waiting."""
        return self._socket.fileno()

    @property
    def drops(self) -> int:
        """Packets for which the ring had no room, since the capture began."""
        self._read_statistics()
        return self._drops

    @property
    def seen(self) -> int:
        """Packets that passed the filter, dropped ones included (tp_packets)."""
        self._read_statistics()
        return self._seen

    def _read_statistics(self) -> None:
        """PACKET_STATISTICS counts from zero after each reading."""
        if self._socket.fileno() < 0:
            return
        packets, drops, _ = struct.unpack("=3I", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12))
        self._seen += packets
        self._drops += drops

    def step(self) -> PacketBatch | None:
        """The packets of up to four waiting blocks, which go back to the kernel; None when none is waiting."""
        start = time.perf_counter()
        taken = 0
        for _ in range(BLOCKS_A_STEP):
            offset = self._block * BLOCK
            if not _u32.unpack_from(self._map, offset + 8)[0] & _STATUS_USER:
                break
            taken += self._take(offset, taken)
            _u32.pack_into(self._map, offset + 8, 0)
            self._block = (self._block + 1) % self._blocks
            if time.perf_counter() - start > STEP_S:
                break
        if not taken:
            return None
        self.count += taken
        packets, headers = self._packets[:taken], self._headers[:taken]
        decode_headers(packets, headers)
        self._learn_names(packets)
        return PacketBatch(packets, headers)

    def _take(self, offset: int, at: int) -> int:
        """Copy one block's packets to self._packets[at:]; how many."""
        n, first = _u32x2.unpack_from(self._map, offset + 12)
        if n == 0:
            return 0
        start = offset + first
        # All but the last: a record view is wider than a short packet, and the last may end with the map.
        stride = _u32.unpack_from(self._map, start)[0]
        if n > 1:
            nexts = (
                np.ndarray((n - 1,), "<u4", self._map, start, (stride,))
                if self._fits(start, stride, n)
                else None
            )
            if nexts is not None and (nexts == stride).all():
                records = np.ndarray((n - 1,), _RECORD, self._map, start, (stride,))
                self._store(records, at)
                last = start + (n - 1) * stride
            else:
                last = self._chase(start, n, at)
        else:
            last = start
        tail = bytearray(_RECORD.itemsize)
        piece = self._map[last : min(last + _RECORD.itemsize, len(self._map))]
        tail[: len(piece)] = piece
        self._store(np.frombuffer(tail, _RECORD), at + n - 1)
        return int(n)

    def _fits(self, start: int, stride: int, n: int) -> bool:
        """Whether n - 1 records of this stride lie within the map."""
        return stride > 0 and start + (n - 2) * stride + _RECORD.itemsize <= len(self._map)

    def _chase(self, start: int, n: int, at: int) -> int:
        """Copy n - 1 packets of unequal lengths by following tp_next_offset; the offset of the last one."""
        offsets = []
        position = start
        unpack, area = _u32.unpack_from, self._map
        for _ in range(n - 1):
            offsets.append(position)
            position += unpack(area, position)[0]
        # Gathered as 8-byte words: records are 8-aligned, and the map has room behind all but the last few.
        words = np.array(offsets, "i8") >> 3
        index = words[:, None] + np.arange(_RECORD.itemsize // 8)
        gathered = self._words.take(index, mode="clip")
        self._store(gathered.view(_RECORD)[:, 0], at)
        return position

    def _store(self, records: Records, at: int) -> None:
        """Write ring records as PACKET records."""
        out = self._packets[at : at + len(records)]
        out["time_ns"] = records["sec"].astype("u8") * np.uint64(1_000_000_000) + records["nsec"]
        out["ifindex"] = records["ifindex"]
        out["length"] = records["length"]
        out["ethertype"] = records["protocol"]
        out["caplen"] = np.minimum(records["caplen"], SNAP)
        out["pkttype"] = records["pkttype"]
        tagged = (records["status"] & _VLAN_VALID) != 0
        out["vlan"] = np.where(tagged, records["tci"] & 0xFFF, NO_VLAN) if tagged.any() else NO_VLAN
        out["data"] = records["data"]

    def _learn_names(self, packets: Records) -> None:
        """Remember interface names at first sight: the interface may be gone when its packet is shown."""
        index = packets["ifindex"]
        first = int(index[0])
        for number in [first] if (index == first).all() else np.unique(index).tolist():
            if number not in self.names:
                try:
                    self.names[number] = socket.if_indextoname(number)
                except OSError:
                    self.names[number] = f"if{number}"

    def close(self) -> None:
        """End the capture. The batch of the last step stays valid."""
        self._read_statistics()
        self._socket.close()
        del self._words
        self._map.close()


def _bind(sock: socket.socket, index: int) -> None:
    """Begin to take packets of one interface, 0: of all. Python's own bind looks a name up and knows no 0."""
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(_ETH_P_ALL), index, 0, 0, 0, b"")
    if _libc.bind(sock.fileno(), address, len(address)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def attach(sock: socket.socket, program: bytes) -> None:
    """SO_ATTACH_FILTER with an array of struct sock_filter (8 bytes each)."""
    code = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program) // 8, ctypes.addressof(code))
    )
