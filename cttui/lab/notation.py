"""Scapy's packet notation read by a parser of our own: `IP(src="198.51.100.0/24")/TCP(dport=80,flags="S")`.

Python's `ast` reads the syntax, a whitelist of layers and literals gives it meaning; nothing is ever
evaluated, imported or resolved by name. Ranges, lists, nets and Rand…() become `Spread`s: what differs
from packet to packet. One thing differs from scapy: a list of flags is a choice, as in every other field
(scapy adds the letters up).
"""

import ast
import functools
import re
from ipaddress import ip_address, ip_network

from cttui.lab.layers import LAYERS, ComposeError, Layer, Spread, Stack, nearest

MAX_TEXT = 20_000
MAX_PAYLOAD = 65_000
MAX_VALUES = 65_536
"""Values a list may hold once its ranges are written out."""

RANDOM: dict[str, tuple[int, int]] = {
    "RandByte": (0, 0xFF), "RandShort": (0, 0xFFFF), "RandInt": (0, 0xFFFFFFFF),
    "RandLong": (0, 0xFFFFFFFFFFFFFFFF),
}  # fmt: skip
_BARE_ADDRESS = re.compile(r"=\s*(\d+\.\d+\.\d[\d./]*|[\da-fA-F]*:[\da-fA-F:./]*)")
_RANGE = "A range is written (80,90), a list [80,443]."
_CALLS = (*RANDOM, "RandNum", "RandIP", "RandIP6", "Net", "Net6", "fragment")


@functools.lru_cache(64)
def tree(text: str) -> ast.expr:
    """The syntax tree of a notation. Raises ComposeError."""
    if len(text) > MAX_TEXT:
        raise ComposeError(f"Longer than {MAX_TEXT:,} characters.", MAX_TEXT)
    if not text.strip():
        raise ComposeError("Nothing to send: write something like IP()/TCP(dport=80).")
    line = text.lstrip().replace("\r", " ").replace("\n", " ")
    indent = len(text) - len(text.lstrip())
    try:
        node = ast.parse(line, mode="eval").body
    except SyntaxError as e:
        if bare := _BARE_ADDRESS.search(line):
            words = f'An address stands in quotes: "{bare[1]}".'
            raise ComposeError(words, indent + bare.start(1)) from None
        column = indent + max((e.offset or 1) - 1, 0)
        raise ComposeError(f"Not readable from here: {e.msg.rstrip('.?')}.", column) from None
    except (ValueError, RecursionError, MemoryError):
        raise ComposeError("Not readable: nested too deeply, or a character that can't be in it.") from None
    for inner in ast.walk(node):
        if isinstance(inner, ast.expr | ast.keyword):  # ast counts bytes of UTF-8, a cursor counts characters
            inner.col_offset = indent + len(line.encode()[: inner.col_offset].decode("utf-8", "replace"))
    return node


def parse(text: str) -> Stack:
    """The headers that a notation means. Raises ComposeError."""
    node = tree(text)
    size = 0
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "fragment":
        node, size = _fragment(node)
    try:
        layers = [_layer(part) for part in _parts(node)]
    except RecursionError:
        raise ComposeError("Nested too deeply.") from None
    if layers[0].name not in ("IP", "IPv6"):
        raise ComposeError("A packet begins with IP() or IPv6().", layers[0].column)
    return Stack(layers, size)


def _fragment(call: ast.Call) -> tuple[ast.expr, int]:
    given: dict[str, ast.expr] = dict(zip(("pkt", "fragsize"), call.args, strict=False))
    given.update({k.arg or "": k.value for k in call.keywords})
    if "pkt" not in given or len(call.args) > 2 or set(given) - {"pkt", "fragsize"}:
        raise ComposeError("fragment takes a packet and fragsize=N.", call.col_offset)
    size = _value(given["fragsize"]) if "fragsize" in given else 1480
    if not isinstance(size, int) or not 8 <= size <= 65528:
        raise ComposeError("fragsize is a number from 8 to 65528.", given["fragsize"].col_offset)
    return given["pkt"], size


def _parts(node: ast.expr) -> list[ast.expr]:
    out: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        out.append(node.right)
        node = node.left
    return [node, *reversed(out)]


def _layer(node: ast.expr) -> Layer:
    if isinstance(node, ast.BinOp | ast.Constant):
        load = _value(node)
        if isinstance(load, str | bytes):
            return Layer("Raw", node.col_offset, {"load": load.encode() if isinstance(load, str) else load})
        raise ComposeError("Expected a layer such as TCP(), or a payload in quotes.", node.col_offset)
    if isinstance(node, ast.Name):
        raise ComposeError(
            f"{node.id} needs brackets: {node.id}().{nearest(node.id, LAYERS) if node.id not in LAYERS else ''}",
            node.col_offset,
        )
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ComposeError("Expected a layer such as TCP(), or a payload in quotes.", node.col_offset)
    name = node.func.id
    if name not in LAYERS:
        near = f" {_RANGE}" if name == "range" else nearest(name, (*LAYERS, *_CALLS))
        raise ComposeError(f"There is no layer {name} here.{near}", node.col_offset)
    layer = Layer(name, node.col_offset)
    if node.args:
        if name != "Raw" or len(node.args) > 1:
            raise ComposeError(f"{name} takes fields by name: {name}(field=value).", node.args[0].col_offset)
        load = _value(node.args[0])
        layer.fields["load"] = load.encode() if isinstance(load, str) else load
        layer.columns["load"] = node.args[0].col_offset
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ComposeError("** is not part of the notation.", keyword.col_offset)
        if keyword.arg in layer.fields:
            raise ComposeError(f"{keyword.arg} is given twice.", keyword.col_offset)
        layer.fields[keyword.arg] = _value(keyword.value)
        layer.columns[keyword.arg] = keyword.value.col_offset
    return layer


def _value(node: ast.expr) -> object:
    """What a field is given. Strings that are nets become Spreads; whether a field takes it is checked later."""
    match node:
        case ast.Constant(value=str() as text):
            return _net(text) or text
        case ast.Constant(value=None | bool() | int() | bytes() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
            return -number
        case ast.BinOp(
            op=ast.Mult(),
            left=ast.Constant(value=str() | bytes() as text),
            right=ast.Constant(value=int() as times),
        ):
            if len(text) * times > MAX_PAYLOAD:
                raise ComposeError(f"A payload holds at most {MAX_PAYLOAD:,} bytes.", node.col_offset)
            return text * times
        case ast.Tuple(elts=elements):
            return _tuple(node, [_value(element) for element in elements])
        case ast.List(elts=elements):
            return _list(node, [_value(element) for element in elements])
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS and name != "fragment":
            return _random(node, name)
        case ast.Call():
            return _layer(node)
        case ast.Name(id=name):
            raise ComposeError(f"{name} is no value: text stands in quotes.", node.col_offset)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and isinstance(node.left, ast.BinOp):
        raise ComposeError('A repeated payload stands in brackets: IP()/UDP()/("x"*100).', node.col_offset)
    minus = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)
    raise ComposeError(_RANGE if minus else "This is not part of the notation.", node.col_offset)


def _net(text: str) -> Spread | None:
    """`198.51.100.0/24` and `198.51.100.1-198.51.100.9` as ranges of addresses."""
    try:
        if "/" in text:
            net = ip_network(text, strict=False)
            return Spread("range", int(net[0]), int(net[-1]), version=net.version)
        low, dash, high = text.partition("-")
        if dash:
            first, last = ip_address(low.strip()), ip_address(high.strip())
            if first.version == last.version and int(first) <= int(last):
                return Spread("range", int(first), int(last), version=first.version)
    except ValueError:
        pass
    return None


def _tuple(node: ast.Tuple, values: list[object]) -> object:
    if len(values) in (2, 3) and all(type(v) is int for v in values):
        first, last, step = (*values, 1)[:3]
        assert isinstance(first, int) and isinstance(last, int) and isinstance(step, int)
        if first > last or step < 1:
            raise ComposeError(
                "A range is (first, last) or (first, last, step), first not above last.", node.col_offset
            )
        if step == 1:
            return Spread("range", first, last)
        if (last - first) // step >= MAX_VALUES:
            raise ComposeError(f"More than {MAX_VALUES:,} values.", node.col_offset)
        return Spread("cycle", values=tuple(range(first, last + 1, step)))
    return tuple(values)  # ("MSS", 1460) of TCP options


def _list(node: ast.List, values: list[object]) -> object:
    """A list is a Spread over its elements; a list of parts (options, DNS records) is one value."""
    if not values or any(isinstance(v, Layer | tuple | list) for v in values):
        return values
    out: list[object] = []
    version = 0
    for value in values:
        if isinstance(value, Spread):
            if value.kind == "random":
                raise ComposeError("A list can't hold random values.", node.col_offset)
            if len(out) + value.size > MAX_VALUES:
                raise ComposeError(f"More than {MAX_VALUES:,} values.", node.col_offset)
            version = version or value.version
            out += [value.at(i) for i in range(value.size)]
        else:
            out.append(value)
    if len(out) > MAX_VALUES:
        raise ComposeError(f"More than {MAX_VALUES:,} values.", node.col_offset)
    return Spread("cycle", values=tuple(out), version=version)


def _random(node: ast.Call, name: str) -> Spread:
    if node.keywords:
        raise ComposeError(f"{name} takes no named arguments.", node.col_offset)
    given = [_value(argument) for argument in node.args]
    if name in RANDOM and not given:
        return Spread("random", *RANDOM[name])
    if name == "RandNum" and len(given) == 2 and all(type(v) is int for v in given):
        first, last = given
        assert isinstance(first, int) and isinstance(last, int)
        if 0 <= first <= last:
            return Spread("random", first, last)
    if name in ("RandIP", "RandIP6", "Net", "Net6") and len(given) <= 1:
        version = 6 if name.endswith("6") else 4
        net = given[0] if given else _net("::/0" if version == 6 else "0.0.0.0/0")
        if isinstance(net, str) and name.startswith("Net"):
            net = _net(f"{net}/{128 if version == 6 else 32}")
        if (
            isinstance(net, Spread)
            and net.kind == "range"
            and net.version == version
            and (given or name.startswith("Rand"))
        ):
            return net if name.startswith("Net") else Spread("random", net.first, net.last, version=version)
    shape = {"RandNum": "two numbers, the smaller first", **dict.fromkeys(RANDOM, "nothing")}.get(
        name, 'a net such as "198.18.0.0/15"'
    )
    raise ComposeError(f"{name} takes {shape}.", node.col_offset)


def write(node: ast.expr) -> str:
    """A tree as text in the style of this program (`ast.unparse` spaces and quotes differently)."""
    match node:
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            inner = write(right)
            return f"{write(left)}/({inner})" if isinstance(right, ast.BinOp) else f"{write(left)}/{inner}"
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return f"{write(left)}*{write(right)}"
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            inside = [*map(write, args), *(f"{k.arg}={write(k.value)}" for k in keywords)]
            return f"{name}({','.join(inside)})"
        case ast.Tuple(elts=elements):
            return f"({','.join(map(write, elements))}{',' if len(elements) == 1 else ''})"
        case ast.List(elts=elements):
            return f"[{','.join(map(write, elements))}]"
        case ast.Constant(value=str() as text):
            return quote(text)
    return ast.unparse(node)


def quote(text: str) -> str:
    """A string literal in double quotes, everything unprintable escaped."""
    inner = ascii(text)[1:-1].replace("\\'", "'").replace('"', '\\"')
    return f'"{inner}"'
