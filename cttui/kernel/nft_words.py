"""Rules of `nft -j` back in nft's own syntax.

Follows libnftables-json(5). An expression this file does not know is shown as its JSON, never left out.
"""

import json
from collections.abc import Callable
from typing import Any


def quote(value: str) -> str:
    """A quoted string as nft prints it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def kind_of(e: dict[str, Any]) -> str:
    return str(next(iter(e)))


# ------------------------------------------------------------------------------------------- statements


def statement(e: dict[str, Any]) -> str:
    """One element of `expr`."""
    kind = kind_of(e)
    render = _STATEMENTS.get(kind)
    if render is None:
        return expression(e)
    try:
        return render(e[kind])
    except (KeyError, TypeError, AttributeError, ValueError):
        return raw(e)


def raw(value: Any) -> str:
    """What we do not know how to say, as it came."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_MASKED = {"tcp flags"}


def _match(m: dict[str, Any]) -> str:
    left, op, right = m["left"], m["op"], m["right"]
    if isinstance(left, dict) and "&" in left and isinstance(left["&"], list):
        field, mask = left["&"]
        name = expression(field)
        if name in _MASKED and op in ("==", "!="):
            sign = "" if op == "==" else "!= "
            return f"{name} {sign}{_flags(right)} / {_flags(mask)}"
    name = expression(left)
    if isinstance(left, dict) and ("fib" in left or "exthdr" in left) and isinstance(right, bool):
        return f"{name} {'exists' if right else 'missing'}"
    value = _flags(right) if isinstance(right, list) else expression(right, name)
    if op in ("==", "in"):
        return f"{name} {value}"
    return f"{name} {op} {value}"


def _flags(value: Any) -> str:
    return ",".join(expression(v) for v in value) if isinstance(value, list) else expression(value)


def _counter(c: Any) -> str:
    return f"counter name {quote(c)}" if isinstance(c, str) else "counter"


def _limit(v: Any) -> str:
    if isinstance(v, str):
        return f"limit name {quote(v)}"
    over = "over " if v.get("inv") else ""
    unit = f" {v['rate_unit']}" if v.get("rate_unit", "packets") != "packets" else ""
    out = f"limit rate {over}{v['rate']}{unit}/{v['per']}"
    burst, burst_unit = v.get("burst", 0), v.get("burst_unit", "packets")
    # nft leaves out its default burst of 5 packets
    return out if burst in (0, 5) and (burst == 0 or not unit) else f"{out} burst {burst} {burst_unit}"


def _log(v: Any) -> str:
    out = ["log"]
    for key, value in (v or {}).items():
        if key == "prefix":
            out.append(f"prefix {quote(value)}")
        elif key == "flags":
            out.append("flags " + _flags(value))
        else:
            out.append(f"{key} {value}")
    return " ".join(out)


def _reject(v: Any) -> str:
    if not v:
        return "reject"
    if v["type"] == "tcp reset":
        return "reject with tcp reset"
    if v == {"type": "icmpx", "expr": "port-unreachable"}:
        return "reject"
    return f"reject with {v['type']} {expression(v['expr'])}"


def _nat(kind: str) -> Callable[[Any], str]:
    def render(v: Any) -> str:
        if not v:
            return kind
        out = kind
        if v.get("family") and "addr" in v:
            out += f" {v['family']}"
        if "addr" in v or "port" in v:
            out += " to "
            if "addr" in v:
                addr = expression(v["addr"])
                out += f"[{addr}]" if ":" in addr and "port" in v and "map" not in addr else addr
            if "port" in v:
                out += f":{expression(v['port'])}"
        if "flags" in v:
            out += " " + _flags(v["flags"])
        return out

    return render


def _mangle(v: Any) -> str:
    return f"{expression(v['key'])} set {_flags(v['value'])}"


def _vmap(v: Any) -> str:
    return f"{expression(v['key'])} vmap {_data(v['data'])}"


def _data(data: Any) -> str:
    if isinstance(data, str):
        return data
    pairs = data["set"] if isinstance(data, dict) else data
    return "{ " + ", ".join(f"{expression(key)} : {statement(value) if isinstance(value, dict) else value}" for key, value in pairs) + " }"  # fmt: skip


def _set(v: Any) -> str:
    tail = "".join(" " + statement(s) for s in v.get("stmt", []))
    return f"{v['op']} {v['set']} {{ {expression(v['elem'])}{tail} }}"


def _map_statement(v: Any) -> str:
    return f"{v['op']} {v['map']} {{ {expression(v['elem'])} : {expression(v['data'])} }}"


def _queue(v: Any) -> str:
    if not v:
        return "queue"
    flags = v.get("flags", [])
    flags = [flags] if isinstance(flags, str) else flags
    out = "queue" + (f" flags {','.join(flags)}" if flags else "")
    return out + (f" to {expression(v['num'])}" if "num" in v else "")


def _quota(v: Any) -> str:
    if isinstance(v, str):
        return f"quota name {quote(v)}"
    return f"quota {'over ' if v.get('inv') else ''}{v['val']} {v['val_unit']}"


def _ct_count(v: Any) -> str:
    return f"ct count {'over ' if v.get('inv') else ''}{v['val']}"


def _synproxy(v: Any) -> str:
    if isinstance(v, str):
        return f"synproxy name {quote(v)}"
    out = "synproxy"
    for key in ("mss", "wscale"):
        if v and key in v:
            out += f" {key} {v[key]}"
    flags = (v or {}).get("flags", [])
    return out + "".join(f" {f}" for f in ([flags] if isinstance(flags, str) else flags))


def _tproxy(v: Any) -> str:
    out = "tproxy" + (f" {v['family']}" if v.get("family") else "") + " to "
    return out + (expression(v["addr"]) if "addr" in v else "") + (f":{expression(v['port'])}" if "port" in v else "")  # fmt: skip


def _ways(word: str) -> Callable[[Any], str]:
    def render(v: Any) -> str:
        out = f"{word} to {_name(v.get('addr', ''))}"
        return out + (f" device {_name(v['dev'])}" if "dev" in v else "")

    return render


def _name(value: Any) -> str:
    return quote(value) if isinstance(value, str) and not value[:1].isdigit() else expression(value)


def _xt(v: Any) -> str:
    return f"xt {v['type']} {v['name']}" if isinstance(v, dict) else "xt"


_STATEMENTS: dict[str, Callable[[Any], str]] = {
    "match": _match, "counter": _counter, "limit": _limit, "log": _log, "reject": _reject, "mangle": _mangle,
    "snat": _nat("snat"), "dnat": _nat("dnat"), "masquerade": _nat("masquerade"), "redirect": _nat("redirect"),
    "vmap": _vmap, "set": _set, "map": _map_statement, "queue": _queue, "quota": _quota, "ct count": _ct_count,
    "synproxy": _synproxy, "tproxy": _tproxy, "dup": _ways("dup"), "fwd": _ways("fwd"), "xt": _xt,
    "accept": lambda _: "accept", "drop": lambda _: "drop", "return": lambda _: "return",
    "continue": lambda _: "continue", "notrack": lambda _: "notrack",
    "jump": lambda v: f"jump {v['target']}", "goto": lambda v: f"goto {v['target']}",
    "ct helper": lambda v: f"ct helper set {quote(v)}", "ct timeout": lambda v: f"ct timeout set {quote(v)}",
    "ct expectation": lambda v: f"ct expectation set {quote(v)}",
    "flow": lambda v: f"flow {v['op']} {v['flowtable']}", "last": lambda _: "last",
}  # fmt: skip


# ------------------------------------------------------------------------------------------ expressions

_META_BARE = {
    "iif", "iifname", "iiftype", "oif", "oifname", "oiftype", "iifgroup", "oifgroup",
    "ibrname", "obrname",
}  # fmt: skip
_QUOTED = {"iifname", "oifname", "iif", "oif", "ct helper", "ibrname", "obrname"}


def expression(e: Any, of: str = "") -> str:
    """A value or selector; `of` is what it is compared with (interface names are quoted)."""
    if isinstance(e, bool):
        return "1" if e else "0"
    if isinstance(e, str):
        return quote(e) if of in _QUOTED and not e.startswith("@") else e
    if isinstance(e, int | float):
        return str(e)
    if isinstance(e, list):
        return _flags(e)
    if not isinstance(e, dict) or not e:
        return raw(e)
    kind = kind_of(e)
    render = _EXPRESSIONS.get(kind)
    try:
        if render is not None:
            return render(e[kind], of)
        if kind in ("&", "|", "^", "<<", ">>"):
            return f" {kind} ".join(expression(x) for x in e[kind])
    except (KeyError, TypeError, AttributeError, ValueError):
        pass
    return raw(e)


def _payload(v: Any, _: str) -> str:
    if "protocol" in v:
        return f"{v['protocol']} {v['field']}"
    return f"@{v['base']},{v['offset']},{v['len']}"


def _meta(v: Any, _: str) -> str:
    return str(v["key"]) if v["key"] in _META_BARE else f"meta {v['key']}"


def _ct(v: Any, _: str) -> str:
    return f"ct {v['dir']} {v['key']}" if "dir" in v else f"ct {v['key']}"


def _exthdr(v: Any, _: str) -> str:
    return f"{v['name']} {v['field']}" if "field" in v else f"exthdr {v['name']}"


def _option(word: str) -> Callable[[Any, str], str]:
    def render(v: Any, _: str) -> str:
        if "base" in v:
            return f"{word} @{v['base']},{v['offset']},{v['len']}"
        return f"{word} {v['name']}" + (f" {v['field']}" if "field" in v else "")

    return render


def _fib(v: Any, _: str) -> str:
    flags = v.get("flags", [])
    return f"fib {' . '.join([flags] if isinstance(flags, str) else flags)} {v['result']}"


def _elem(v: Any, _: str) -> str:
    out = expression(v["val"])
    if "timeout" in v:
        out += f" timeout {v['timeout']}s"
    return out + (f" comment {quote(v['comment'])}" if "comment" in v else "")


def _hash(word: str) -> Callable[[Any, str], str]:
    def render(v: Any, _: str) -> str:
        out = word + (f" {expression(v['expr'])}" if "expr" in v else "") + f" mod {v['mod']}"
        out += f" seed {v['seed']:#x}" if "seed" in v else ""
        return out + (f" offset {v['offset']}" if v.get("offset") else "")

    return render


def _numgen(v: Any, _: str) -> str:
    return f"numgen {v['mode']} mod {v['mod']}" + (f" offset {v['offset']}" if v.get("offset") else "")


_EXPRESSIONS: dict[str, Callable[[Any, str], str]] = {
    "payload": _payload, "meta": _meta, "ct": _ct, "exthdr": _exthdr, "fib": _fib, "elem": _elem,
    "tcp option": _option("tcp option"), "ip option": _option("ip option"), "sctp chunk": _option("sctp chunk"),
    "concat": lambda v, _: " . ".join(expression(x) for x in v),
    "set": lambda v, of: "{ " + ", ".join(expression(x, of) for x in (v if isinstance(v, list) else [v])) + " }",
    "prefix": lambda v, _: f"{expression(v['addr'])}/{v['len']}",
    "range": lambda v, _: f"{expression(v[0])}-{expression(v[1])}",
    "map": lambda v, _: f"{expression(v['key'])} map {_data(v['data'])}",
    "jhash": _hash("jhash"), "symhash": _hash("symhash"), "numgen": _numgen,
    "socket": lambda v, _: f"socket {v['key']}", "osf": lambda v, _: f"osf {v['key']}",
    "rt": lambda v, _: f"rt {v['key']}",
    "ipsec": lambda v, _: f"ipsec {v.get('dir', '')} {v.get('key', '')}",
}  # fmt: skip
