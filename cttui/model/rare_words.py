"""Attributes that few entries carry, in sentences."""

from collections.abc import Mapping


def rare_words(rare: Mapping[str, int]) -> list[tuple[str, str]]:
    """(label, sentence) of each group of attributes that few entries carry (names: kernel.ctrare.NAMES)."""
    out = []
    if (original := rare.get("sctp-vtag-orig")) is not None:
        out.append(
            ("sctp", f"verification tags: original {original:#x}, reply {rare.get('sctp-vtag-reply', 0):#x}")
        )
    if (role := rare.get("dccp-role")) is not None:
        who = "client" if role == 0 else "server"
        out.append(
            (
                "dccp",
                f"the original direction is the {who}'s, handshake number {rare.get('dccp-handshake-seq', 0)}",
            )
        )
    for end, name in (("orig", "original"), ("reply", "reply")):
        if (position := rare.get(f"seqadj-{end}-position")) is not None:
            before, after = rare.get(f"seqadj-{end}-before", 0), rare.get(f"seqadj-{end}-after", 0)
            out.append(
                ("seq adj", f"{name}: {before:+d} up to sequence number {position}, {after:+d} from there")
            )
    if (number := rare.get("synproxy-isn")) is not None:
        its, offset = rare.get("synproxy-its", 0), rare.get("synproxy-tsoff", 0)
        out.append(
            (
                "synproxy",
                f"first sequence number {number}, first timestamp {its}, timestamps moved by {offset}",
            )
        )
    return out
