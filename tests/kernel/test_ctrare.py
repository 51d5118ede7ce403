"""What few entries carry: given to the kernel, and read back when one entry is asked for."""

import json
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.kernel

RARE = """
import json, struct
from cttui.flows.columns import Interned
from cttui.flows.store import Store
from cttui.kernel import ctnetlink
from cttui.kernel.ctencode import address, attribute, be32, create_message, nested
from cttui.kernel.ctrare import rare_attributes
from cttui.kernel.netlink import Netlink, NLMSG_ERROR, error_of, split
from cttui.model.flow import Flow

def flow(proto, n, **more):
    src, dst = address(f"10.0.0.{n}"), address("192.0.2.1")
    return Flow(id=0, family=2, proto=proto, orig_src=src, orig_dst=dst, orig_sport=1000, orig_dport=80, reply_src=dst,
                reply_dst=src, reply_sport=80, reply_dport=1000, timeout_s=600, status=0, **more)

def create(one, *extra):
    data = create_message(one, 1) + b"".join(extra)
    netlink = Netlink(); netlink.send(struct.pack("=I", len(data)) + data[4:])
    answers = [x for part in netlink.receive() for x in split(part)]; netlink.close()
    return [error_of(payload) for kind, _, _, payload in answers if kind == NLMSG_ERROR]

adjusted = nested(15, be32(1, 7), be32(2, 5), be32(3, 0xFFFFFFFD)), nested(16, be32(1, 9), be32(2, 0), be32(3, 11))
proxied = nested(24, be32(1, 4000000000), be32(2, 2), be32(3, 3))
tags = nested(4, nested(3, attribute(1, b"\\4"), be32(2, 0xDEADBEEF), be32(3, 1)))
role = nested(4, nested(2, attribute(1, b"\\3"), attribute(2, b"\\1"), attribute(3, (1 << 40).to_bytes(8, "big"))))
said = {"errors": [create(flow(6, 1, state=3), *adjusted), create(flow(6, 2, state=3), proxied),
                   create(flow(132, 3), tags), create(flow(33, 4), role), create(flow(17, 5))]}
said["read"] = {}
interned = Interned(); store = Store(interned)
dump = ctnetlink.Dump(ctnetlink.Decoder(interned)); dump.start(); store.begin_dump()
while (batches := dump.step()) is not None:
    store.put_dump(batches, 0.0)
for one in store.flows(store.rows(), 0.0):
    said["read"][one.orig_src[3]] = rare_attributes(one)
    ctnetlink.delete(one)
    assert rare_attributes(one) == {}
print(json.dumps(said))
"""


def test_rare_attributes_come_back(netns: Any) -> None:
    """Sequence numbers moved by a helper's NAT, synproxy's numbers, tags of SCTP, role of DCCP."""
    got = json.loads(netns.run(sys.executable, "-c", RARE))
    assert got["errors"] == [[0]] * 5
    assert got["read"].pop("4") in ({}, {"dccp-role": 1, "dccp-handshake-seq": 1 << 40}), (
        "newer kernels have no DCCP"
    )
    assert got["read"] == {
        "1": {
            "seqadj-orig-position": 7, "seqadj-orig-before": 5, "seqadj-orig-after": -3,
            "seqadj-reply-position": 9, "seqadj-reply-before": 0, "seqadj-reply-after": 11,
        },
        "2": {"synproxy-isn": 4000000000, "synproxy-its": 2, "synproxy-tsoff": 3},
        "3": {"sctp-vtag-orig": 0xDEADBEEF, "sctp-vtag-reply": 1},
        "5": {},
    }  # fmt: skip
