"""UDP-Lite (RFC 3828) for scapy, which has none: imported only when a notation names it."""

from typing import Any, ClassVar

from scapy.fields import ShortField, XShortField
from scapy.layers.inet import IP, in4_chksum
from scapy.layers.inet6 import IPv6, in6_chksum
from scapy.packet import Packet, bind_layers


class UDPLite(Packet):  # type: ignore[misc]
    """`lencov` 0: the checksum covers everything; otherwise what is given is sent, and so is `chksum`."""

    name = "UDPLite"
    fields_desc: ClassVar[list[Any]] = [
        ShortField("sport", 53),
        ShortField("dport", 53),
        ShortField("lencov", 0),
        XShortField("chksum", None),
    ]

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Compute the checksum over everything, pseudo header included."""
        pkt += pay
        if self.chksum is None:
            below: Any = self.underlayer
            if isinstance(below, IP):
                sum_ = in4_chksum(136, below, pkt)
            elif isinstance(below, IPv6):
                sum_ = in6_chksum(136, below, pkt)
            else:
                return pkt
            pkt = pkt[:6] + (sum_ or 0xFFFF).to_bytes(2, "big") + pkt[8:]
        return pkt


bind_layers(IP, UDPLite, proto=136)
bind_layers(IPv6, UDPLite, nh=136)
