"""The composer's form: every header field of IPv4, IPv6, TCP, UDP and ICMP as one line of text each, to and
from the notation. Needs no scapy.

A field's text is a number, a name, an address or a net; `10000-10009` is a range, `80, 443` a list,
`random` anything the field takes, `random 198.18.0.0/15` an address of a net; an expression of the notation
stands for itself.
"""

import ast
import re
from dataclasses import dataclass, field

from cttui.lab.layers import ComposeError
from cttui.lab.notation import RANDOM, parse, quote, tree, write


@dataclass(frozen=True, slots=True)
class FormField:
    """One line of the form. `default` is what the packet has where the line is empty, as a word."""

    name: str
    label: str
    default: str
    random: str = "RandShort()"
    """What `random` means here."""

    @property
    def hint(self) -> str:
        """What may be typed."""
        empty = f"Empty: {self.default}."
        match self.name, self.random:
            case _, "RandIP()":
                return f"An address; 192.0.2.0/24 a net; 192.0.2.1, 192.0.2.9 a list; random 198.18.0.0/15. {empty}"
            case _, "RandIP6()":
                return f"An address; 2001:db8::/64 a net; 2001:db8::1, 2001:db8::9 a list; random 2001:db8::/64. {empty}"
            case "flags", "RandByte()":
                return f"Letters, SA for both; S, A one after the other; random. {empty}"
            case "flags", _:
                return f"DF, MF or DF+MF. {empty}"
            case "options", _:
                return f"As in scapy: a list in brackets. {empty}"
            case "data", _:
                return f"Text. {empty}"
        return f"A number; 1000-2000 a range; 80, 443 a list; random. {empty}"


def _field(name: str, label: str, default: str, random: str = "RandShort()") -> FormField:
    return FormField(name, label, default, random)


_BYTE, _INT = "RandByte()", "RandInt()"
FORM: dict[str, tuple[FormField, ...]] = {
    "IP": (
        _field("src", "source", "198.51.100.2", "RandIP()"), _field("dst", "destination", "192.0.2.1", "RandIP()"),
        _field("ttl", "time to live", "64", _BYTE), _field("tos", "type of service", "0", _BYTE),
        _field("id", "identification", "1"), _field("flags", "flags (DF, MF)", "none", "RandNum(0,7)"),
        _field("frag", "fragment offset / 8", "0", "RandNum(0,8191)"), _field("proto", "protocol", "by layer", _BYTE),
        _field("len", "total length", "computed"), _field("ihl", "header words", "computed", "RandNum(5,15)"),
        _field("version", "version", "4", "RandNum(0,15)"), _field("chksum", "checksum", "computed"),
        _field("options", "options", "none"),
    ),
    "IPv6": (
        _field("src", "source", "2001:db8:1::2", "RandIP6()"), _field("dst", "destination", "2001:db8::1", "RandIP6()"),
        _field("hlim", "hop limit", "64", _BYTE), _field("tc", "traffic class", "0", _BYTE),
        _field("fl", "flow label", "0", "RandNum(0,1048575)"), _field("nh", "next header", "by layer", _BYTE),
        _field("plen", "payload length", "computed"), _field("version", "version", "6", "RandNum(0,15)"),
    ),
    "TCP": (
        _field("sport", "source port", "20"), _field("dport", "destination port", "80"),
        _field("flags", "flags (FSRPAUEC)", "S", _BYTE), _field("seq", "sequence", "0", _INT),
        _field("ack", "acknowledgement", "0", _INT), _field("window", "window", "8192"),
        _field("urgptr", "urgent pointer", "0"), _field("dataofs", "header words", "computed", "RandNum(5,15)"),
        _field("reserved", "reserved bits", "0", "RandNum(0,7)"), _field("chksum", "checksum", "computed"),
        _field("options", "options", "none"),
    ),
    "UDP": (
        _field("sport", "source port", "53"), _field("dport", "destination port", "53"),
        _field("len", "length", "computed"), _field("chksum", "checksum", "computed"),
    ),
    "ICMP": (
        _field("type", "type", "8 (echo request)", _BYTE), _field("code", "code", "0", _BYTE),
        _field("id", "identifier", "0"), _field("seq", "sequence", "0"), _field("gw", "gateway", "0.0.0.0", "RandIP()"),
        _field("ptr", "pointer", "0", _BYTE), _field("nexthopmtu", "next-hop MTU", "0"),
        _field("chksum", "checksum", "computed"),
    ),
    "ICMPv6EchoRequest": (
        _field("code", "code", "0", _BYTE), _field("id", "identifier", "0"), _field("seq", "sequence", "0"),
        _field("type", "type", "128", _BYTE), _field("cksum", "checksum", "computed"), _field("data", "data", "none"),
    ),
    "ICMPv6EchoReply": (
        _field("code", "code", "0", _BYTE), _field("id", "identifier", "0"), _field("seq", "sequence", "0"),
        _field("type", "type", "129", _BYTE), _field("cksum", "checksum", "computed"), _field("data", "data", "none"),
    ),
}  # fmt: skip
"""Layer → its lines, in the order of use rather than of the header."""
NETWORKS = ("IP", "IPv6")
TRANSPORTS = ("TCP", "UDP", "ICMP", "ICMPv6EchoRequest", "ICMPv6EchoReply", "")


@dataclass(slots=True)
class Fields:
    """What the form holds: the two layers, the text of each line that isn't empty (`IP.src`, `TCP.flags`), the
    payload, and the size of fragments (0: whole)."""

    network: str = "IP"
    transport: str = "TCP"
    values: dict[str, str] = field(default_factory=dict)
    payload: str = ""
    fragment: int = 0

    def lines(self) -> list[tuple[str, FormField, str]]:
        """Every line to show: layer, field, its text."""
        return [
            (layer, line, self.values.get(f"{layer}.{line.name}", ""))
            for layer in (self.network, self.transport)
            if layer
            for line in FORM[layer]
        ]


def to_notation(fields: Fields) -> str:
    """The form as one line of notation. Raises ComposeError naming the field whose text can't be read."""
    parts = []
    for layer in (fields.network, fields.transport):
        if not layer:
            continue
        given = []
        for line in FORM[layer]:
            text = fields.values.get(f"{layer}.{line.name}", "").strip()
            if text:
                given.append(f"{line.name}={_expression(text, line, layer)}")
        parts.append(f"{layer}({','.join(given)})")
    payload = fields.payload
    if payload:
        repeated = "*" in payload  # binds as tightly as the slash: needs brackets
        parts.append((f"({payload})" if repeated else payload) if _is_literal(payload) else quote(payload))
    out = "/".join(parts)
    return f"fragment({out},fragsize={fields.fragment})" if fields.fragment else out


def _is_literal(text: str) -> bool:
    return bool(re.match(r"""b?["'].*["'](\*\d+)?$""", text)) and _parses(f"IP()/({text})")


def _parses(text: str) -> bool:
    try:
        parse(text)
    except ComposeError:
        return False
    return True


_NUMBER = re.compile(r"-?([0-9]{1,50}|0x[0-9a-fA-F]+)")
_RANGE = re.compile(r"([0-9]{1,50}|0x[0-9a-fA-F]+)\s*-\s*([0-9]{1,50}|0x[0-9a-fA-F]+)")
_RANDOM_NET = re.compile(r"random\s*\(?\s*([0-9a-fA-F.:]+/\d+)\s*\)?")


def _expression(text: str, line: FormField, layer: str) -> str:
    if text == "random":
        return line.random
    if found := _RANDOM_NET.fullmatch(text):
        return f"RandIP{'6' if ':' in found[1] else ''}({quote(found[1])})"
    if _NUMBER.fullmatch(text):
        return text if "x" in text else str(int(text))
    if found := _RANGE.fullmatch(text):
        first, last = (end if "x" in end else int(end) for end in found.groups())
        return f"({first},{last})"
    if text[0] in "([\"'" or re.match(r"\w+\(", text):
        if not _parses(f"{layer if layer in NETWORKS else 'IP()/' + layer}({line.name}={text})"):
            raise ComposeError(f"{line.label}: {text} can't be read.")
        return text
    if "," in text:
        return f"[{','.join(_expression(part.strip(), line, layer) for part in text.split(',') if part.strip())}]"
    return quote(text)


def from_notation(text: str) -> Fields:
    """The form for a notation. Raises ComposeError where the form has no line for what stands there."""
    parse(text)  # everything is known and well-formed
    node = tree(text)
    out = Fields()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "fragment":
        out.fragment = parse(text).fragment
        node = node.args[0] if node.args else next(k.value for k in node.keywords if k.arg == "pkt")
    parts: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        parts.insert(0, node.right)
        node = node.left
    parts.insert(0, node)
    out.network, out.transport = _name(parts[0]), ""
    rest = parts[1:]
    if rest and _name(rest[0]) in TRANSPORTS[:-1]:
        out.transport = _name(rest.pop(0))
    if rest:
        out.payload = _payload(rest.pop(0))
    if rest:
        raise ComposeError(
            f"The form ends before {_name(rest[0]) or 'this'}: edit the line.", rest[0].col_offset
        )
    for part in parts[:2]:
        layer = _name(part)
        if layer not in FORM:
            continue
        assert isinstance(part, ast.Call)
        lines = {line.name: line for line in FORM[layer]}
        for keyword in part.keywords:
            if keyword.arg not in lines:
                raise ComposeError(
                    f"The form has no line for {layer}.{keyword.arg}: edit the line.", keyword.col_offset
                )
            out.values[f"{layer}.{keyword.arg}"] = _text(keyword.value, lines[keyword.arg], layer)
    return out


def _name(node: ast.expr) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _payload(node: ast.expr) -> str:
    if _name(node) == "Raw":
        assert isinstance(node, ast.Call)
        given = [*node.args, *(k.value for k in node.keywords)]
        node = given[0] if given else ast.Constant("")
    elif isinstance(node, ast.Call):
        raise ComposeError(f"The form has no lines for {_name(node)}: edit the line.", node.col_offset)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _is_literal(node.value):
        return node.value
    return write(node)


def _text(node: ast.expr, line: FormField, layer: str) -> str:
    """The line's text for an expression: the friendliest that means the same."""
    exact = write(node)
    return next((text for text in _friendly(node, line) if _expression(text, line, layer) == exact), exact)


def _friendly(node: ast.expr, line: FormField) -> list[str]:
    match node:
        case ast.Constant(value=str() as text) if text and text == text.strip():
            return [text]
        case ast.Tuple(elts=[first, last]):
            return [f"{write(first)}-{write(last)}"]
        case ast.List(elts=elements):
            inner = [_friendly(e, line) for e in elements]
            return [", ".join(texts[0] for texts in inner)] if all(inner) else []
        case ast.Call(args=[ast.Constant(value=str() as net)]) if "/" in net:
            return [f"random {net}"]
        case ast.Call(func=ast.Name(id=name)) if name in RANDOM or name.startswith("Rand"):
            return ["random"]
        case ast.Constant(value=int() as number):
            return [str(number)]
    return []
