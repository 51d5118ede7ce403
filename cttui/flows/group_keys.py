"""What flows can be grouped by: for each key, the bits that rows share, and the words for one of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cttui.flows.columns import NO_STATE
from cttui.flows.partition import Parts
from cttui.flows.select import View
from cttui.model import words as flow_words
from cttui.model.filter_ast import Span, State, Text
from cttui.model.filters import span_text, unparse
from cttui.model.flow import AF_INET, AF_INET6, DST_NAT, PROTOCOLS, SRC_NAT, state_name
from cttui.model.safe import clean


@dataclass(frozen=True, slots=True)
class GroupKey:
    """How to group by one key: its parts for all rows, and for one row what to show and what selects it."""

    parts: Callable[[View], Parts]
    words: Callable[[View, int], tuple[str, str]]
    """(text, filter) of the row at a position."""


def _address(name: str, key: str) -> GroupKey:
    return GroupKey(
        lambda view: _address_parts(view, name, 128),
        lambda view, at: _network_words(view, name, key, at, 32, 128),
    )


def _network(name: str, key: str) -> GroupKey:
    return GroupKey(
        lambda view: _address_parts(view, name, 64, np.uint32(0xFFFFFF00)),
        lambda view, at: _network_words(view, name, key, at, 24, 64),
    )


def _address_parts(view: View, name: str, v6_bits: int, v4_mask: np.uint32 | None = None) -> Parts:
    family = view["family"]
    first = view[f"{name}0"]
    six = family == AF_INET6
    mixed = bool(six.any())
    if v4_mask is not None:
        first = np.where(six, first, first & v4_mask) if mixed else first & v4_mask
    if not mixed:
        return [(first, 32)]
    return [
        (six.view(np.uint8), 1),
        (first, 32),
        *((view[f"{name}{word}"], 32) for word in range(1, v6_bits // 32)),
    ]


def _network_words(view: View, name: str, key: str, at: int, v4_bits: int, v6_bits: int) -> tuple[str, str]:
    family = int(view["family"][at])
    size, length = (32, v4_bits) if family == AF_INET else (128, v6_bits)
    value = 0
    for word in range(size // 32):
        value = value << 32 | int(view[f"{name}{word}"][at])
    host = (1 << (size - length)) - 1
    text = span_text(Span(family, value & ~host, value | host))
    return text, f"{key}={text}"


def _port(name: str, key: str) -> GroupKey:
    def parts(view: View) -> Parts:
        ports = view["ports"]
        if bool(ports.all()):
            return [(view[name], 16)]
        return [(ports.view(np.uint8), 1), (np.where(ports, view[name], np.uint16(0)), 16)]

    def words(view: View, at: int) -> tuple[str, str]:
        if not view["ports"][at]:
            return "–", f"{key}!=*"
        port = int(view[name][at])
        return str(port), f"{key}={port}"

    return GroupKey(parts, words)


def _number(name: str, bits: int) -> GroupKey:
    def words(view: View, at: int) -> tuple[str, str]:
        value = int(view[name][at])
        return str(value), f"{name}={value}"

    return GroupKey(lambda view: [(view[name], bits)], words)


def _protocol_words(view: View, at: int) -> tuple[str, str]:
    proto = int(view["proto"][at])
    name = flow_words.protocol(proto)
    return (name if proto in PROTOCOLS else f"proto {proto}"), f"proto={name}"


def _family_words(view: View, at: int) -> tuple[str, str]:
    name = "ipv4" if view["family"][at] == AF_INET else "ipv6"
    return name, f"family={name}"


def _state_parts(view: View) -> Parts:
    """A number for each name: one name may stand for states of several protocols."""
    proto, state = view["proto"], view["state"]
    both = proto.astype(np.uint16) << np.uint16(8) | state
    used = np.flatnonzero(np.bincount(both, minlength=1))
    code_of: dict[str, int] = {"": 0}
    codes = np.zeros(1 << 16, np.uint16)
    for pair in used.tolist():
        name = _state_text(pair >> 8, pair & 0xFF)
        codes[pair] = code_of.setdefault(name, len(code_of))
    return [(codes[both], 16)]


def _state_text(proto: int, state: int) -> str:
    return state_name(proto, None if state == NO_STATE else state)


def _state_words(view: View, at: int) -> tuple[str, str]:
    name = _state_text(int(view["proto"][at]), int(view["state"][at]))
    return (name, unparse(State((name,)))) if name else ("–", "state!=*")


def _helper_words(view: View, at: int) -> tuple[str, str]:
    name = view.interned.helpers[int(view["helper"][at])]
    return (clean(name), unparse(Text("helper", (name,)))) if name else ("–", "helper!=*")


def _nat_parts(view: View) -> Parts:
    """Which NAT (destination before source where both), then the translated address."""
    status = view["status"]
    dnat = (status & np.uint32(DST_NAT)) != 0
    snat = ((status & np.uint32(SRC_NAT)) != 0) & ~dnat
    parts: Parts = [(dnat.view(np.uint8) * np.uint8(2) + snat.view(np.uint8), 2)]
    to, back = np.flatnonzero(dnat), np.flatnonzero(snat)
    if not len(to) and not len(back):
        return parts
    translated = view["family"] == AF_INET6
    translated &= dnat | snat
    six = bool(translated.any())
    if six:
        parts.append((translated.view(np.uint8), 1))
    for word in range(4 if six else 1):
        address = np.zeros(view.size, np.uint32)
        address[to] = view[f"reply_src{word}"][to]
        address[back] = view[f"reply_dst{word}"][back]
        parts.append((address, 32))
    return parts


def _nat_words(view: View, at: int) -> tuple[str, str]:
    status = int(view["status"][at])
    if status & DST_NAT:
        text, selects = _network_words(view, "reply_src", "reply-src", at, 32, 128)
        return f"DNAT {text}", f"dnat {selects}"
    if status & SRC_NAT:
        text, selects = _network_words(view, "reply_dst", "reply-dst", at, 32, 128)
        return f"SNAT {text}", f"snat not dnat {selects}"
    return "no NAT", "not nat"


GROUP_BY: dict[str, GroupKey] = {
    "src": _address("orig_src", "src"),
    "dst": _address("orig_dst", "dst"),
    "rsrc": _address("reply_src", "reply-src"),
    "rdst": _address("reply_dst", "reply-dst"),
    "src/24": _network("orig_src", "src"),
    "dst/24": _network("orig_dst", "dst"),
    "sport": _port("orig_sport", "sport"),
    "dport": _port("orig_dport", "dport"),
    "proto": GroupKey(lambda view: [(view["proto"], 8)], _protocol_words),
    "state": GroupKey(_state_parts, _state_words),
    "family": GroupKey(lambda view: [(view["family"], 8)], _family_words),
    "nat": GroupKey(_nat_parts, _nat_words),
    "mark": _number("mark", 32),
    "zone": _number("zone", 16),
    "helper": GroupKey(lambda view: [(view["helper"], 16)], _helper_words),
}
"""The keys of model.filters.GROUP_KEYS."""
