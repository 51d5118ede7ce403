"""Rules of `nft -j` back in nft's own syntax, with what they decide and why they need conntrack.

Follows libnftables-json(5). An expression this file does not know is shown as its JSON, never left out.
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec

VERDICTS = ("accept", "drop", "return", "continue", "queue", "reject", "jump", "goto")


class Meaning(msgspec.Struct, frozen=True):
    """What a rule says. `counted`: its counter counts exactly the packets that its verdict meets."""

    text: str
    verdict: str = ""
    conntrack: str = ""
    counted: bool = True
    targets: tuple[str, ...] = ()
    """Chains it may go on to."""
    maps: tuple[str, ...] = ()
    """Named verdict maps it asks: where they lead is not in the rule."""


def explain(rule: dict[str, Any]) -> Meaning:
    """The meaning of one `{"rule": …}` object (or of anything with `expr`)."""
    expressions = [e for e in rule.get("expr", []) if isinstance(e, dict) and e]
    words = [statement(e) for e in expressions]
    if rule.get("comment"):
        words.append("comment " + quote(str(rule["comment"])))
    targets, maps = _targets(expressions)
    return Meaning(
        " ".join(words),
        _verdict(expressions),
        _conntrack(expressions),
        _counted(expressions),
        tuple(targets),
        tuple(maps),
    )


def quote(value: str) -> str:
    """A quoted string as nft prints it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _kind(e: dict[str, Any]) -> str:
    return str(next(iter(e)))


def _verdict(expressions: list[dict[str, Any]]) -> str:
    for e in reversed(expressions):
        kind = _kind(e)
        if kind in ("jump", "goto"):
            target = str(e[kind].get("target", "")) if isinstance(e[kind], dict) else ""
            # A chain may be called DROP; the bare word must stay nft's verdict.
            return f"{kind} {target}" if target.lower() in VERDICTS else target
        if kind in VERDICTS:
            return kind.upper()
        if kind == "vmap":
            return "VMAP"
        if kind in ("snat", "dnat", "masquerade", "redirect", "synproxy", "tproxy"):
            return kind.upper()
        if kind == "xt" and isinstance(e[kind], dict) and e[kind].get("type") == "target":
            return str(e[kind].get("name", ""))
    return ""


def _counted(expressions: list[dict[str, Any]]) -> bool:
    """Whether nothing after the last counter can still let a packet go on without the verdict."""
    for e in reversed(expressions):
        kind = _kind(e)
        if kind == "counter":
            return isinstance(e[kind], dict)  # a named counter counts for other rules too
        if kind not in VERDICTS and kind not in ("log", "mangle", "notrack", "dup"):
            return False
    return False


_XT = {
    "CT": "CT", "CONNMARK": "CONNMARK", "connmark": "connmark", "conntrack": "conntrack", "state": "state",
    "connlimit": "connlimit", "connbytes": "connbytes", "connlabel": "connlabel", "helper": "helper",
    "SYNPROXY": "SYNPROXY", "MASQUERADE": "nat", "DNAT": "nat", "SNAT": "nat", "REDIRECT": "nat", "NETMAP": "nat",
}  # fmt: skip
"""iptables extensions as nft shows them: only the name, not what they are told (CT may be --notrack)."""


def _conntrack(expressions: list[dict[str, Any]]) -> str:
    """Why the rule needs conntrack: "ctstate", "ct mark", "NOTRACK", "nat", "connlimit", "SYNPROXY", …"""
    keys: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for kind, inner in value.items():
                if kind == "ct" and isinstance(inner, dict):
                    key = str(inner.get("key", ""))
                    keys.append("ctstate" if key == "state" else f"ct {key}")
                elif kind == "ct count":
                    keys.append("connlimit")
                elif kind in ("ct helper", "ct timeout", "ct expectation"):
                    keys.append(kind)
                elif kind in ("snat", "dnat", "masquerade", "redirect"):
                    keys.append("nat")
                elif kind == "synproxy":
                    keys.append("SYNPROXY")
                elif kind == "notrack":
                    keys.append("NOTRACK")
                elif kind == "xt" and isinstance(inner, dict) and inner.get("name") in _XT:
                    keys.append(_XT[inner["name"]])
                elif kind == "flow" and isinstance(inner, dict):
                    keys.append("flow offload")
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(expressions)
    # What switches conntrack on is worth more than what switches it off.
    keys.sort(key=lambda k: k == "NOTRACK")
    return keys[0] if keys else ""


def _targets(expressions: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    targets: list[str] = []
    maps: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for kind, inner in value.items():
                if kind in ("jump", "goto") and isinstance(inner, dict):
                    targets.append(str(inner.get("target", "")))
                elif kind == "vmap" and isinstance(inner, dict) and isinstance(inner.get("data"), str):
                    maps.append(inner["data"])
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(expressions)
    return targets, maps


# ------------------------------------------------------------------------------------------- statements


def statement(e: dict[str, Any]) -> str:
    """One element of `expr`."""
    kind = _kind(e)
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
_SET_KEYS = {"ct state", "ct status"}


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
    kind = _kind(e)
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
