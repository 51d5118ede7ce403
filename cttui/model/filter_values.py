"""Values of the filter language: text after a key to a condition."""

import re
import socket
from collections.abc import Callable
from typing import TypeVar

from cttui.model import filter_ast as ast
from cttui.model import filter_words as words
from cttui.model import flow as f

T = TypeVar("T")

_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_SECONDS = {
    "ms": 0.001, "": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800,
}  # fmt: skip
_COUNT = re.compile(r"(\d+(?:\.\d+)?)(k|m|g|t|ki|mi|gi|ti)?(b|b/s|bit|bit/s|bps)?", re.IGNORECASE)
_PERIOD = re.compile(r"(\d+(?:\.\d+)?)(ms|sec|min|s|m|h|d|w)?", re.IGNORECASE)


class ValueFault(Exception):
    """A value that can't be read; the parser adds the column of value number `index`."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion
        self.index = 0


def address(text: str) -> ast.Span | None:
    """An address, CIDR, address/netmask, `10.1`, `10.1.*` or `low-high` as a span; None if it is none of these.

    Raises ValueFault for what is meant as one but wrong.
    """
    low, dash, high = text.partition("-")
    if dash:
        first, last = _packed(low), _packed(high)
        if first is None or last is None:
            return None
        if len(first) != len(last):
            raise ValueFault("both ends of an address range must be of one family")
        a, b = int.from_bytes(first, "big"), int.from_bytes(last, "big")
        if a > b:
            raise ValueFault("the range ends before it begins", f"{high}-{low}")
        return ast.Span(f.AF_INET if len(first) == 4 else f.AF_INET6, a, b)
    if text.endswith(".*"):
        return _wildcard(text)
    host, slash, mask = text.partition("/")
    parts = host.count(".") + 1
    if re.fullmatch(r"\d{1,3}(\.\d{1,3}){1,2}", host):  # tcpdump's `net 192.168.1`
        host += ".0" * (4 - parts)
    packed = _packed(host)
    if packed is None:
        return None
    bits = len(packed) * 8
    length = bits if bits == 128 else 8 * parts
    if slash:
        length = _prefix(mask, bits)
    value = int.from_bytes(packed, "big")
    span = (1 << (bits - length)) - 1
    return ast.Span(f.AF_INET if bits == 32 else f.AF_INET6, value & ~span, value | span)


def _packed(text: str) -> bytes | None:
    text = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (OSError, ValueError):  # ValueError: a NUL inside
            continue
    return None


def _prefix(mask: str, bits: int) -> int:
    if mask.isdecimal() and len(mask) <= 3:
        if int(mask) > bits:
            raise ValueFault(f"a prefix is at most /{bits}", f"/{bits}")
        return int(mask)
    packed = _packed(mask)
    if packed is None or len(packed) * 8 != bits:
        raise ValueFault(f"{mask!r} is no prefix length and no netmask", "/24" if bits == 32 else "/64")
    value = int.from_bytes(packed, "big")
    length = value.bit_count()
    if value != ((1 << bits) - 1) ^ ((1 << (bits - length)) - 1):
        raise ValueFault("the bits of a netmask must be contiguous")
    return length


def _wildcard(text: str) -> ast.Span | None:
    parts = text.split(".")
    known = [p for p in parts if p != "*"]
    if parts[len(known) :] != ["*"] * (len(parts) - len(known)) or not 1 <= len(known) <= 3 or len(parts) > 4:
        return None
    if not all(p.isdecimal() and int(p) < 256 for p in known):
        return None
    value = int.from_bytes(bytes([int(p) for p in known] + [0] * (4 - len(known))), "big")
    return ast.Span(f.AF_INET, value, value | ((1 << (8 * (4 - len(known)))) - 1))


def endpoint(text: str) -> tuple[ast.Span, int] | None:
    """`10.0.0.1:80` or `[::1]:80`; None if it is none."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or len(port) > 5 or int(port) > 0xFFFF:
        return None
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        return None
    packed = _packed(host)
    if packed is None:
        return None
    value = int.from_bytes(packed, "big")
    return ast.Span(f.AF_INET if len(packed) == 4 else f.AF_INET6, value, value), int(port)


def _tidy(value: float) -> int | float:
    value = round(value, 3)
    return int(value) if value == int(value) else value


def _number(key: str, text: str) -> int | float:
    """One number of this key's kind."""
    lower = text.lower()
    if key in ast.PORT_KEYS and lower in words.SERVICES:
        return words.SERVICES[lower]
    if key == "proto" and lower in words.PROTOCOL_NUMBERS:
        return words.PROTOCOL_NUMBERS[lower]
    if key == "family":
        if lower in words.FAMILIES:
            return words.FAMILIES[lower]
        raise ValueFault(f"{text!r} is no family", "family=ipv4 or family=ipv6")
    if key in ("age", "timeout"):
        return _period(key, text)
    if key == "rate" or key.endswith(("bytes", "packets")):
        match = _COUNT.fullmatch(text)
        unit = (match[3] or "") if match else ""
        in_bytes = key == "rate" and unit in ("B", "B/s", "Bps")
        allowed = (
            ("", "b", "bit", "bit/s", "bps", "b/s")
            if key == "rate"
            else ("", "b")
            if "bytes" in key
            else ("",)
        )
        if match and unit.lower() in allowed and len(match[1]) <= 24:
            scale = _UNITS[(match[2] or "").lower()] * (8 if in_bytes else 1)
            return int(match[1]) * scale if match[1].isdecimal() else _tidy(float(match[1]) * scale)
        raise ValueFault(f"{text!r} is no amount", f"{key}>1M")
    try:
        return int(text, 16) if lower.startswith("0x") else int(text) if text.isdecimal() else _not(key, text)
    except ValueError:
        return _not(key, text)


def _not(key: str, text: str) -> int:
    if key in ast.PORT_KEYS:
        raise ValueFault(f"{text!r} is no port", words.nearest(text, words.SERVICES))
    if key == "proto":
        raise ValueFault(f"{text!r} is no protocol", words.nearest(text, words.PROTOCOL_NUMBERS))
    raise ValueFault(f"{text!r} is no number", example(key) if key == "type" else "")


def _period(key: str, text: str) -> int | float:
    total: float = 0
    at = 0
    while at < len(text):
        match = _PERIOD.match(text, at)
        if not match or len(match[1]) > 15:
            raise ValueFault(f"{text!r} is no length of time", f"{key}>1h30m")
        total += float(match[1]) * _SECONDS[(match[2] or "").lower()]
        at = match.end()
    if not text:
        raise ValueFault("a length of time is missing", f"{key}>1h30m")
    return _tidy(total)


def number(key: str, text: str) -> int | float:
    """A number within the key's domain. Raises ValueFault."""
    value = _number(key, text)
    most = ast.NUMBER_KEYS[key]
    if value > most:
        raise ValueFault(f"{key} is at most {'2^64-1' if most == ast.U64 else format(most, ',')}")
    return value


def number_range(key: str, text: str) -> tuple[int | float, int | float]:
    """`80`, `1000-2000`, `1024-` or, for ports, `1000:2000`, `:1023`; both ends included. Raises ValueFault."""
    if key in ast.PORT_KEYS and len(text) > 1 and text[0] == ":":
        text = "0" + text
    for mark in ("-", ":") if key in ast.PORT_KEYS else ("-",):
        low, found, high = text.partition(mark)
        if (
            found
            and (low[:1].isdigit() or low.lower() in words.SERVICES)
            and not (key in ast.PORT_KEYS and text.lower() in words.SERVICES)
            and key != "family"
        ):
            if key == "proto" and text.lower() in words.PROTOCOL_NUMBERS:
                break
            a = number(key, low)
            b = number(key, high) if high else ast.NUMBER_KEYS[key]
            if a > b:
                raise ValueFault("the range ends before it begins", f"{high}{mark}{low}")
            return a, b
    value = number(key, text)
    return value, value


def is_number_like(text: str) -> bool:
    """Whether a bare word is a port, a range of ports, or several."""
    return bool(re.fullmatch(r":?\d+(?:[-:]\d*)?(?:,:?\d+(?:[-:]\d*)?)*,?", text))


def is_address_like(text: str) -> bool:
    """Whether a bare word is meant as addresses, right or wrong."""
    parts = [part for part in text.split(",") if part]
    try:
        return bool(parts) and all(address(part) is not None for part in parts)
    except ValueFault:
        return True


def is_endpoint_like(text: str) -> bool:
    """Whether a word is meant as an address, with or without a port."""
    return is_address_like(text) or endpoint(text) is not None


# -------------------------------------------------------------------- key, operator, values → condition


def condition(key: str, op: str, texts: list[str], together: bool = False) -> ast.Node:
    """The condition `key op texts`; op is `=`, `<`, `<=`, `>` or `>=`.

    Several values are alternatives, but several status words hold `together` for conntrack's -u. Raises
    ValueFault.
    """
    if op == "=" and texts == ["*"] and key not in (*ast.ADDRESS_KEYS, *words.NAT_KEYS, "status", "ctstate"):
        return ast.Known(key)
    if op != "=" and (
        key not in ast.NUMBER_KEYS or key in ("proto", "family") or (key == "mark" and "/" in texts[0])
    ):
        raise ValueFault(f"{key} knows only = and !=", f"{key}={texts[0]}")
    if op != "=" and len(texts) > 1:
        raise ValueFault(f"{op} compares with one value, not with several")
    if op != "=":
        return ast.Than(key, op, number(key, texts[0]))
    if key in ast.ADDRESS_KEYS:
        points = _each(texts, lambda text: _point(key, text))
        spans = tuple(p for p in points if isinstance(p, ast.Span))
        return ast.any_of(
            [
                *([ast.Address(key, spans)] if spans else []),
                *(p for p in points if not isinstance(p, ast.Span)),
            ]
        )
    if key in words.NAT_KEYS:
        return ast.any_of(_each(texts, lambda text: _nat(key, text)))
    if key == "mark" and any("/" in text for text in texts):
        return ast.any_of(_each(texts, _mark))
    if key in ast.NUMBER_KEYS:
        return ast.Number(key, tuple(_each(texts, lambda text: number_range(key, text))))
    if key == "state":
        return ast.State(tuple(_each(texts, _state)))
    if key == "ctstate":
        return ast.any_of(_each(texts, _packet_state))
    if key == "status":
        return (ast.all_of if together else ast.any_of)(_each(texts, _status))
    if key == "label":
        return ast.Label(tuple(_each(texts, _label)))
    return ast.Text(key, tuple(texts))


def _each(texts: list[str], read: Callable[[str], T]) -> list[T]:
    out = []
    for index, text in enumerate(texts):
        try:
            out.append(read(text))
        except ValueFault as fault:
            fault.index = index
            raise
    return out


def _span(key: str, text: str) -> ast.Span:
    span = address(text)
    if span is None:
        named = "" if text[:1].isdigit() or ":" in text else ": names are not looked up"
        raise ValueFault(f"{text!r} is no address{named}", example(key))
    return span


def _point(key: str, text: str) -> ast.Span | ast.Node:
    point = endpoint(text)
    return at_endpoint(key, *point) if point is not None and address(text) is None else _span(key, text)


def at_endpoint(key: str, span: ast.Span, port: int) -> ast.Node:
    """Address and port at one end; `host` tries all four."""
    ends = {"src": "sport", "dst": "dport", "reply-src": "reply-sport", "reply-dst": "reply-dport"}
    sides = ends if key == "host" else {key: ends[key]}
    return ast.any_of(
        ast.all_of([ast.Address(a, (span,)), ast.Number(p, ((port, port),))]) for a, p in sides.items()
    )


def _nat(key: str, text: str) -> ast.Node:
    """conntrack's -n, -g and -j: NATed, and the translated address (and port) is this one."""
    point = endpoint(text)
    span, port = point if point is not None and address(text) is None else (_span(key, text), None)
    sides = []
    for name, flag, end in (("src-nat", "snat", "dst"), ("dst-nat", "dnat", "src")):
        if key in (name, "any-nat"):
            terms: list[ast.Node] = [ast.Status(ast.FLAGS[flag]), ast.Address(f"reply-{end}", (span,))]
            if port is not None:
                terms.append(ast.Number("reply-dport" if end == "dst" else "reply-sport", ((port, port),)))
            sides.append(ast.all_of(terms))
    return ast.any_of(sides)


def _packet_state(text: str) -> ast.Node:
    bits = words.PACKET_STATES.get(text.lower())
    if bits is None:
        raise ValueFault(
            f"{text!r} is no state of packets: new, established, related",
            f"state={text.upper()}" if words.state_of(text) else "",
        )
    return ast.all_of(ast.Status(bit) if set_ else ast.negated(ast.Status(bit)) for bit, set_ in bits)


def _mark(text: str) -> ast.Node:
    value, slash, mask = text.partition("/")
    wanted = int(number("mark", value))
    if not slash:
        return ast.Number("mark", ((wanted, wanted),))
    bits = int(number("mark", mask))
    if wanted & ~bits:
        raise ValueFault(
            f"{text!r} can never match: the value has bits outside the mask",
            f"mark={wanted & bits:#x}/{bits:#x}",
        )
    return ast.Masked(wanted, bits)


def _state(text: str) -> str:
    name = words.state_of(text)
    if name is None:
        if text.lower() in words.PACKET_STATES:
            raise ValueFault(f"{text!r} is a state of packets, not of connections", f"ctstate={text.upper()}")
        raise ValueFault(f"{text!r} is no state", words.nearest(text, words.STATES))
    return name


def _status(text: str) -> ast.Node:
    flag = words.flag_of(text)
    if flag is None:
        raise ValueFault(f"{text!r} is no status", words.nearest(text, ast.FLAGS))
    return ast.negated(ast.Status(flag[0])) if flag[1] else ast.Status(flag[0])


def _label(text: str) -> int:
    if not text.isdecimal() or len(text) > 3 or int(text) > 127:
        raise ValueFault(f"{text!r} is no label: labels are bit numbers from 0 to 127", "label=1")
    return int(text)


_EXAMPLES = {
    **dict.fromkeys(ast.ADDRESS_KEYS, "10.0.0.0/8"), **dict.fromkeys(ast.PORT_KEYS, "443"), "proto": "tcp",
    "family": "ipv6", "state": "SYN_SENT", "ctstate": "NEW", "type": "8", "status": "assured", "mark": "0x10/0xf0", "helper": "ftp",
    "age": "1h", "timeout": "10", **dict.fromkeys(words.NAT_KEYS, "10.0.0.7"),
}  # fmt: skip


def example(key: str) -> str:
    """A condition on this key, for messages."""
    return f"{key}={_EXAMPLES.get(key, '1')}"
