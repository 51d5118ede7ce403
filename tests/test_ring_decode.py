"""Headers decoded for a whole batch must equal a packet-by-packet reading of the RFCs."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_samples import SEEDS, records, tcp

from cttui.kernel import bpf
from cttui.kernel.packet_columns import HEADERS, SNAP, decode_headers
from cttui.model.faults import FaultError


def naive(kind: int, data: bytes) -> tuple[int, ...]:
    """Family, protocol, TCP flags, fragment, ports, addresses of one packet, read from its first 96 bytes."""
    data = data[:SNAP]
    nothing = (0, 0, 0, 0, 0, 0, *[0] * 8)
    for _ in range(2):
        if kind in (0x8100, 0x88A8) and len(data) >= 4:
            kind, data = struct.unpack(">H", data[2:4])[0], data[4:]
    if kind == 0x0800 and len(data) >= 20 and data[0] >> 4 == 4:
        family, proto, at = 2, data[9], (data[0] & 15) * 4
        where = struct.unpack(">H", data[6:8])[0]
        fragment = 2 if where & 0x1FFF else 1 if where & 0x2000 else 0
        words = [int.from_bytes(data[12:16], "big"), 0, 0, 0, int.from_bytes(data[16:20], "big"), 0, 0, 0]
        if fragment == 2 or at < 20:
            return (family, proto, 0, fragment, 0, 0, *words)
    elif kind == 0x86DD and len(data) >= 40 and data[0] >> 4 == 6:
        family, proto, at, fragment = 10, data[6], 40, 0
        words = [int.from_bytes(data[i : i + 4], "big") for i in range(8, 40, 4)]
        for _ in range(8):
            if proto not in (0, 43, 44, 51, 60, 135) or len(data) < at + 8:
                break
            if proto == 44:
                where = struct.unpack(">H", data[at + 2 : at + 4])[0] & 0xFFF8
                fragment = 2 if where else 1
                proto, at = data[at], at + 8
                if where:
                    return (family, proto, 0, fragment, 0, 0, *words)
            else:
                size = (data[at + 1] + 2) * 4 if proto == 51 else (data[at + 1] + 1) * 8
                proto, at = data[at], at + size
    else:
        return nothing
    rest = data[at:]
    sport = dport = flags = 0
    if proto in (6, 17, 33, 132, 136) and len(rest) >= 4:
        sport, dport = struct.unpack(">HH", rest[:4])
    if proto == 6 and len(rest) >= 14:
        flags = rest[13]
    if proto in (1, 58) and len(rest) >= 4:
        dport = struct.unpack(">H", rest[:2])[0]
        if (
            rest[0] in ((0, 8, 13, 14, 15, 16, 17, 18) if proto == 1 else (128, 129, 139, 140))
            and len(rest) >= 6
        ):
            sport = struct.unpack(">H", rest[4:6])[0]
    return (family, proto, flags, fragment, sport, dport, *words)


packets = st.one_of(
    st.sampled_from(SEEDS),
    st.tuples(st.sampled_from([0x0800, 0x86DD, 0x8100, 0x0806]), st.binary(max_size=120)),
    st.tuples(st.just(0x0800), st.binary(max_size=110).map(lambda b: b"\x45" + b)),
    st.tuples(st.just(0x86DD), st.tuples(st.binary(min_size=5, max_size=5), st.sampled_from([0, 6, 17, 43, 44, 51, 58, 60]),
              st.binary(max_size=100)).map(lambda t: b"\x60" + t[0] + bytes([t[1]]) + t[2])),
    st.tuples(st.sampled_from(SEEDS), st.integers(0, 95), st.integers(0, 255)).map(
        lambda t: (t[0][0], t[0][1][: t[1]] + bytes([t[2]]) + t[0][1][t[1] + 1 :])),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(packets, max_size=40))
def test_a_batch_is_decoded_as_each_packet_alone(batch: list[tuple[int, bytes]]) -> None:
    got = decode_headers(records(batch))
    assert got.tolist() == [naive(*packet) for packet in batch]


@pytest.mark.parametrize("src", [b"\xc6\x33\x64\x02", bytes(range(16))])
def test_uniform_batches_take_their_short_way(src: bytes) -> None:
    """Also when one of the batch is not uniform, and into an array that held something else."""
    kind = 0x86DD if len(src) == 16 else 0x0800
    batch = [(kind, tcp(port, flags=port % 64, src=src, dst=src)) for port in range(1000, 1500)]
    odd = [*batch[:100], SEEDS[30], *batch[100:]]
    for packets in (batch, odd):
        out = np.full(len(packets), 0xFF, "u1").repeat(HEADERS.itemsize).view(HEADERS)
        decode_headers(records(packets), out)
        assert out.tolist() == [naive(*packet) for packet in packets]


def test_programs_are_put_together_without_a_stray_jump() -> None:
    """Every jump of prologue, leave-out and expression lands within the program, and every return is snapped."""
    filtered = bpf.parse_ddd("4\n48 0 0 0\n21 0 1 64\n6 0 0 262144\n6 0 0 0\n")
    program = bpf.build(filtered, ("192.0.2.7", 50000, "192.0.2.1", 22))
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    for at, (op, true, false, k) in enumerate(code):
        if op & 7 == 5:
            assert at + 1 + max(true, false, k if op == 5 else 0) < len(code)
        if op == 6:
            assert k in (0, SNAP)


@pytest.mark.parametrize("text", ["", "x", "2\n6 0 0 1\n", "0\n", "99999\n"])
def test_what_is_no_program_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        bpf.parse_ddd(text)


async def test_a_wrong_expression_says_so() -> None:
    with pytest.raises(FaultError) as caught:
        await bpf.compile_pcap("tcp prt 80")
    assert caught.value.fault.code == "bad-filter" and "syntax error" in caught.value.fault.sentence
    assert len(await bpf.compile_pcap("tcp port 80")) % 8 == 0
