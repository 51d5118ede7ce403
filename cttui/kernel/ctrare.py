"""Attributes of an entry that few carry and nobody sorts by: asked of one entry, when somebody looks at it.

include/uapi/linux/netfilter/nfnetlink_conntrack.h; filled by ctnetlink_dump_ct_seq_adj, ctnetlink_dump_ct_synproxy,
sctp_to_nlattr and, before Linux 6.16, dccp_to_nlattr.
"""

from cttui.kernel import ctencode
from cttui.kernel.netlink import NFGENMSG, NLMSG_ERROR, Netlink, attributes, split
from cttui.model.flow import Flow

_SEQUENCE = {1: "position", 2: "before", 3: "after"}
_SYNPROXY = ("synproxy-isn", "synproxy-its", "synproxy-tsoff")
NAMES: dict[tuple[int, ...], str] = {
    (4, 2, 2): "dccp-role", (4, 2, 3): "dccp-handshake-seq",
    (4, 3, 2): "sctp-vtag-orig", (4, 3, 3): "sctp-vtag-reply",
    **{(15, kind): f"seqadj-orig-{name}" for kind, name in _SEQUENCE.items()},
    **{(16, kind): f"seqadj-reply-{name}" for kind, name in _SEQUENCE.items()},
    **{(24, kind): name for kind, name in enumerate(_SYNPROXY, 1)},
}  # fmt: skip
"""Path of attribute types → name. Numbers of all sizes, big-endian."""
_SIGNED = {"seqadj-orig-before", "seqadj-orig-after", "seqadj-reply-before", "seqadj-reply-after"}
"""struct nf_ct_seqadj holds them as s32, the attributes as u32."""
_NESTS = {path[:depth] for path in NAMES for depth in range(1, len(path))}


def rare_attributes(flow: Flow) -> dict[str, int]:
    """Those of NAMES that the entry has; {} when the kernel no longer has it."""
    netlink = Netlink()
    try:
        netlink.send(ctencode.get_message(ctencode.identity(flow), 1))
        data = b"".join(netlink.receive())
    finally:
        netlink.close()
    found: dict[str, int] = {}
    for kind, _, _, payload in split(data):
        if kind != NLMSG_ERROR:
            _take(payload[NFGENMSG.size :], (), found)
    if not any(found.get(name) for name in _SYNPROXY):  # room for them, which nobody used
        found = {name: value for name, value in found.items() if name not in _SYNPROXY}
    return found


def _take(data: bytes, path: tuple[int, ...], found: dict[str, int]) -> None:
    for kind, value in attributes(data):
        here = (*path, kind)
        if here in _NESTS:
            _take(value, here, found)
        elif (name := NAMES.get(here)) is not None and len(value) in (1, 4, 8):
            found[name] = int.from_bytes(value, "big", signed=name in _SIGNED)
