"""The IPv6 twin of an IPv4 notation: the same experiment over the other family."""

import ast
import copy
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from cttui.lab.layers import ComposeError
from cttui.lab.notation import parse, tree, write

_NETS: tuple[tuple[str, str], ...] = (
    ("192.0.2.0/24", "2001:db8::"),  # the sandbox
    ("198.51.100.0/24", "2001:db8:1::"),  # its clients
    ("198.18.0.0/15", "2001:db8:2::"),  # spoofed sources
)
_ELSEWHERE = "2001:db8:ffff::"
_FIELDS = {"src": "src", "dst": "dst", "ttl": "hlim", "tos": "tc", "proto": "nh"}
_ICMP = {
    0: "ICMPv6EchoReply", 8: "ICMPv6EchoRequest", 3: "ICMPv6DestUnreach", 11: "ICMPv6TimeExceeded",
    12: "ICMPv6ParamProblem", "echo-reply": "ICMPv6EchoReply", "echo-request": "ICMPv6EchoRequest",
    "dest-unreach": "ICMPv6DestUnreach", "time-exceeded": "ICMPv6TimeExceeded",
}  # fmt: skip


def twin(text: str) -> str:
    """The same packets over IPv6, addresses mapped by net. Raises ComposeError for what has no counterpart."""
    stack = parse(text)
    if stack.layers[0].name == "IPv6":
        raise ComposeError("This is IPv6 already.", stack.layers[0].column)
    made = _Twin().visit(copy.deepcopy(tree(text)))
    out = write(made)
    parse(out)
    return out


def address(text: str) -> str:
    """The twin of an address, a net or a range of addresses; other text as it is."""
    try:
        if "/" in text:
            net = ip_network(text, strict=False)
            if net.version == 4:
                return f"{_one(net.network_address)}/{net.prefixlen + 96}"
        elif "-" in text:
            return "-".join(str(_one(ip_address(part.strip()))) for part in text.split("-"))
        else:
            return str(_one(ip_address(text)))
    except ValueError:
        pass
    return text


def _one(old: IPv4Address | IPv6Address) -> IPv6Address:
    if isinstance(old, IPv6Address):
        return old
    for net, base in _NETS:
        if old in ip_network(net):
            return IPv6Address(int(IPv6Address(base)) + int(old) - int(ip_network(net).network_address))
    return IPv6Address(int(IPv6Address(_ELSEWHERE)) + int(old))


class _Twin(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "IP":
            return self._ip(node)
        if name == "ICMP":
            return self._icmp(node)
        if name == "fragment":
            self.generic_visit(node)
        return node

    def _ip(self, node: ast.Call) -> ast.expr:
        keywords, fragment = [], []
        for keyword in node.keywords:
            name = keyword.arg or ""
            if name in _FIELDS:
                value = self._address(keyword.value) if name in ("src", "dst") else keyword.value
                keywords.append(ast.keyword(_FIELDS[name], value))
            elif name == "frag":
                fragment.append(ast.keyword("offset", keyword.value))
            elif (
                name == "flags"
                and isinstance(keyword.value, ast.Constant)
                and keyword.value.value in ("MF", "DF", 0, 1, 2)
            ):
                if keyword.value.value in ("MF", 1):
                    fragment.append(ast.keyword("m", ast.Constant(1)))
            elif name != "id":
                raise ComposeError(f"IP.{name} has no counterpart in IPv6.", keyword.col_offset)
        out: ast.expr = ast.Call(ast.Name("IPv6"), [], keywords)
        if fragment:
            fragment += [ast.keyword("id", k.value) for k in node.keywords if k.arg == "id"]
            out = ast.BinOp(out, ast.Div(), ast.Call(ast.Name("IPv6ExtHdrFragment"), [], fragment))
        return out

    def _address(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return ast.Constant(address(node.value))
        if isinstance(node, ast.List):
            return ast.List([self._address(e) for e in node.elts])
        if isinstance(node, ast.Call):
            inner = [self._address(a) for a in node.args] or [ast.Constant("2001:db8:2::/64")]
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            return ast.Call(ast.Name(f"{name}6"), inner, [])
        return node

    def _icmp(self, node: ast.Call) -> ast.expr:
        given = {k.arg: k.value for k in node.keywords}
        kind = given.pop("type", ast.Constant(8))
        name = _ICMP.get(kind.value) if isinstance(kind, ast.Constant) else None
        if name is None:
            raise ComposeError("This ICMP type has no counterpart in ICMPv6.", node.col_offset)
        allowed = ("id", "seq", "code") if "Echo" in name else ("code",)
        for field in given:
            if field not in allowed:
                raise ComposeError(f"ICMP.{field} has no counterpart in {name}.", node.col_offset)
        return ast.Call(ast.Name(name), [], [ast.keyword(k, v) for k, v in given.items()])
