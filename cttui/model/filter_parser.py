"""Tokens to AST: a parser by recursive descent (or < and, juxtaposition < not)."""

import re

from cttui.model import filter_words as words
from cttui.model.filter_ast import (
    ADDRESS_KEYS,
    NUMBER_KEYS,
    PORT_KEYS,
    TEXT_KEYS,
    Known,
    Node,
    Number,
    State,
    Status,
    Text,
    all_of,
    any_of,
    negated,
)
from cttui.model.filter_errors import FilterError, unknown
from cttui.model.filter_tokens import Token, tokens
from cttui.model.filter_values import (
    ValueFault,
    at_endpoint,
    condition,
    endpoint,
    example,
    is_address_like,
    is_endpoint_like,
    is_number_like,
    number,
)
from cttui.model.flow import FILLER_MARK, FILLER_ZONE

MAX_LENGTH = 8192
MAX_DEPTH = 40


_COMMA = re.compile(r",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)")  # not inside quotes
_OPPOSITE = {"!=", "<>"}
_REPLY = {"src": "reply-src", "dst": "reply-dst", "sport": "reply-sport", "dport": "reply-dport"}


def parse(text: str) -> Node | None:
    """The filter's meaning, None for an empty one (everything). Raises FilterError."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"a filter has at most {MAX_LENGTH:,} characters", MAX_LENGTH)
    if not text.strip():
        return None
    stream = tokens(text)
    while stream[0].text in words.COMMAND:
        stream.pop(0)
    if stream[0].kind == "end":
        return None
    parser = _Parser(stream)
    node = parser.alternatives(0)
    rest = parser.peek()
    if rest.kind != "end":
        raise FilterError(f"{rest.text!r} has no counterpart", rest.column)
    return node


class _Parser:
    def __init__(self, stream: list[Token]) -> None:
        self._stream = stream
        self._at = 0
        self._seen: dict[str, str] = {}
        """Keys and values of the present unbroken run of words."""
        self._reply = False
        """The run has reached the reply side of a pasted conntrack line."""
        self._line = False
        """The run began like a pasted conntrack line: protocol, its number, timeout."""
        self._nft = False
        """`ct` was read: a state behind it is that of packets."""
        self._packets = False
        """iptables' -m state was read: the states behind it are those of packets."""
        self._last_key = ""
        self._inherited = ""
        """tcpdump: in `dport 80 or 443` the second value has the first one's key."""

    def peek(self, ahead: int = 0) -> Token:
        return self._stream[min(self._at + ahead, len(self._stream) - 1)]

    def _next(self) -> Token:
        token = self.peek()
        self._at += 1
        return token

    # ---------------------------------------------------------------- structure

    def alternatives(self, depth: int) -> Node | None:
        if depth > MAX_DEPTH:
            raise FilterError("too many brackets inside each other", self.peek().column)
        branches = [self._conjunction(depth)]
        while self.peek().kind == "or":
            self._next()
            self._inherited = self._last_key
            branches.append(self._conjunction(depth))
        found = [b for b in branches if b is not None]
        return any_of(found) if found else None

    def _conjunction(self, depth: int) -> Node | None:
        self._break_run()
        self._last_key = ""
        terms = [self._negation(depth)]
        self._inherited = ""
        while True:
            kind = self.peek().kind
            if kind == "and":
                self._next()
                self._break_run()
            elif kind not in ("word", "not", "("):
                break
            terms.append(self._negation(depth))
        found = [t for t in terms if t is not None]
        return all_of(found) if found else None

    def _break_run(self) -> None:
        self._seen = {}
        self._reply = self._line = False

    def _negation(self, depth: int) -> Node | None:
        odd = False
        while self.peek().kind == "not":
            self._next()
            odd = not odd
        token = self._next()
        if token.kind == "(":
            saved = self._seen, self._reply, self._line, self._last_key, self._inherited
            self._inherited = ""
            node = self.alternatives(depth + 1)
            self._seen, self._reply, self._line, self._last_key, self._inherited = saved
            closing = self._next()
            if closing.kind != ")":
                raise FilterError("this bracket is never closed", token.column, ")")
        elif token.kind == "word":
            node = self._word(token)
        elif token.kind == "end":
            raise FilterError("something is missing at the end", token.column)
        else:
            raise FilterError(f"a condition is missing before {token.text!r}", token.column)
        return negated(node) if odd and node is not None else node

    # ---------------------------------------------------------------- words

    def _word(self, token: Token) -> Node | None:
        key, following, after = words.key_of(token.text), self.peek(), self.peek(1)
        lower = token.text.lower()
        if following.kind == "word" and (passed := self._passed_over(token, following)):
            return self._word(self._next()) if passed == "prefix" else None
        if (lower == "state" and self._nft) or (token.text == "--state" and self._packets):
            key = "ctstate"
        self._nft = False
        if key is None and (pair := self._arrow(token)) is not None:
            return pair
        if (
            key in ("src", "dst")
            and following.kind in ("or", "and")
            and words.key_of(after.text) in ("src", "dst")
        ):
            return self._both_ends(token, following.kind)
        if (
            key in words.ALWAYS_VALUED
            and lower not in ("ip", "ip6")
            and following.kind == "not"
            and after.kind == "word"
        ):
            return self._operator(key, token)  # iptables' and tcpdump's `-s ! 10.0.0.1`
        relates = following.kind in ("op", "{") or following.text.lower() == "in"
        if relates or (following.kind == "not" and after.text.lower() == "in"):
            if key is not None:
                return self._operator(key, token)
            if words.flag_of(token.text):
                raise FilterError(f"{token.text} stands alone: it takes no value", following.column)
            raise unknown(token.text, token.column)
        if key in words.NAT_KEYS and following.text.lower() == "to":  # iptables' and nft's `dnat to 10.0.0.7`
            self._next()
            following = self.peek()
        # `src host 10.0.0.1`, `dst port 80`: tcpdump's qualifiers
        qualifier = following.text.lower()
        if (
            key in ("src", "dst")
            and qualifier in ("host", "net", "port", "portrange")
            and (after.kind in ("word", "op", "{"))
        ):
            self._next()
            key = key if qualifier in ("host", "net") else f"{key[0]}port"
            return self._operator(key, token) if after.kind == "op" else self._keyed(key, "=", token)
        bare_family = token.text.lower() in ("ip", "ip6")  # as in tcpdump; but `ip=10.0.0.1` is an address
        if key is not None and not bare_family and self._takes_value(key, following):
            return self._keyed(key, "=", token)
        try:
            return self._bare(token, key)
        except ValueFault as fault:
            raise FilterError(fault.message, token.column, fault.suggestion) from fault

    def _passed_over(self, token: Token, following: Token) -> str:
        """Words of other tools that select nothing: "prefix" where the next word does, "option" where both don't."""
        lower = token.text.lower()
        if lower in words.NFT_PREFIXES and words.key_of(following.text):
            self._nft = lower == "ct"
            return "prefix"
        if token.text in ("-o", "--output"):
            self._next()
            return "option"
        if token.text in ("-m", "--match") and following.text in words.PROTOCOL_NUMBERS:
            return "prefix"
        if token.text in ("-m", "--match") and following.text in words.MODULES:
            self._next()
            self._packets = following.text != "multiport"
            return "option"
        return ""

    def _arrow(self, token: Token) -> Node | None:
        """`10.0.0.1:5 -> 10.0.0.2:80`: from there to there."""
        arrow = self.peek().text
        split = (arrow, self.peek(1).text) == ("-", ">")  # -> is two tokens
        end = self.peek(1 + split)
        ends = [token.text, end.text.removesuffix(":")]
        if (arrow not in words.ARROWS and not split) or not all(is_endpoint_like(text) for text in ends):
            return None
        for _ in range(2 + split):
            self._next()
        return all_of(
            self._condition(key, "=", [(text, at.column)])
            for key, text, at in zip(("src", "dst"), ends, (token, end), strict=True)
        )

    def _both_ends(self, token: Token, how: str) -> Node:
        """tcpdump's `src or dst port 53`, `src and dst net 10.0.0.0/8`."""
        self._next()
        self._next()
        keys = ["src", "dst"]
        qualifier = self.peek().text.lower()
        if qualifier in ("host", "net", "port", "portrange"):
            self._next()
            keys = ["sport", "dport"] if qualifier.startswith("port") else keys
        items = self._items(keys[0], token)
        ends = [self._condition(key, "=", items) for key in keys]
        return any_of(ends) if how == "or" else all_of(ends)

    def _takes_value(self, key: str, following: Token) -> bool:
        """Whether the next word is this key's value: always, unless the key also stands alone."""
        if following.kind != "word":
            return False
        flag = words.flag_of(following.text)
        if key in words.NAT_KEYS:
            return is_endpoint_like(following.text)
        if key in ("mark", "zone", "label", "id", "timeout"):
            return following.text[0].isdigit()
        if key in (*TEXT_KEYS, "state"):
            named = words.key_of(following.text) is not None and self.peek(1).kind == "op"
            protocol = following.text.lower() in words.PROTOCOL_NUMBERS
            return not named and (key == "state" or not (flag or protocol or words.state_of(following.text)))
        return True

    def _operator(self, key: str, token: Token) -> Node | None:
        """A key, then `=` and its like, `in`, `not in` or `{`, then values."""
        following = self.peek()
        op = "="
        if following.kind == "not":
            op = "!="
            if self.peek(1).text.lower() == "in":
                self._next()
        elif following.kind == "op":
            op = "=" if following.text == "==" else following.text
        if following.kind != "{":
            self._next()
        return self._keyed(key, op, token)

    def _keyed(self, key: str, op: str, token: Token) -> Node | None:
        items = self._items(key, token)
        opposite = op in _OPPOSITE
        if op == "=" and self._pasted(key, items[0][0] if len(items) == 1 else ""):
            return None
        if op == "=" and self._reply:
            key = _REPLY.get(key, key)
        self._seen[key] = items[0][0] if len(items) == 1 and op == "=" else ""
        self._last_key = key
        node = self._condition(key, "=" if opposite else op, items, together=token.text.startswith("-"))
        return negated(node) if opposite else node

    @staticmethod
    def _condition(key: str, op: str, items: list[tuple[str, int]], together: bool = False) -> Node:
        try:
            return condition(key, op, [text for text, _ in items], together=together)
        except ValueFault as fault:
            raise FilterError(fault.message, items[fault.index][1], fault.suggestion) from fault

    def _pasted(self, key: str, value: str) -> bool:
        """Follow a pasted `conntrack -L` line; True where the word changes from second to second or says
        on the reply side what the original side already said.

        A second src= begins the reply side where it could otherwise match nothing: after a src= and a dst=
        of one address each, being another address (or the same, of a host that talks to itself).
        """
        if key == "src" and not self._reply:
            src, dst = self._seen.get("src", ""), self._seen.get("dst", "")
            single = all(text and "/" not in text and is_address_like(text) for text in (src, dst, value))
            self._reply = single and (self._line or value != src or src == dst)
        if self._line and key in ("packets", "bytes", "use", "age"):
            return True
        return self._reply and key in ("type", "code", "srckey", "dstkey")

    def _items(self, key: str, token: Token) -> list[tuple[str, int]]:
        """The values after a key, split at commas, each with its column."""
        items: list[tuple[str, int]] = []
        closing = {"{": "}", "(": ")"}.get(self.peek().kind, "")
        opening = self._next() if closing else token
        more = True
        while more:
            value = self._next()
            if closing and value.kind == closing:
                closing = ""
                break
            if closing and value.kind == "end":
                raise FilterError("this bracket is never closed", opening.column, closing)
            if value.kind == "end" and items:  # a comma is still the last that was typed
                break
            if value.kind != "word":
                raise FilterError(f"{token.text} needs a value", value.column, example(key))
            column = value.column
            if '"' in value.text:
                parts = _COMMA.split(value.text)
            else:  # a security context may have commas of its own
                parts = [value.text] if key == "secctx" else value.text.split(",")
            for part in parts:
                if part:
                    items.append((part.replace('"', ""), column))
                column += len(part) + 1
            more = bool(closing) or value.text.endswith(",")
        if not items:
            raise FilterError(f"{token.text} needs a value", token.column, example(key))
        return items

    def _bare(self, token: Token, key: str | None) -> Node | None:
        """A word on its own, taken by its type."""
        text, lower = token.text, token.text.lower()
        flag = words.flag_of(text)
        if flag is not None:
            node: Node = Status(flag[0])
            return negated(node) if flag[1] else node
        option = text.startswith("-")
        if not option:
            if (lower in words.FAMILIES and not lower.isdecimal()) or lower == "ip":
                return self._family(words.FAMILIES.get(lower, words.FAMILIES["ipv4"]))
            if lower in words.PROTOCOL_NUMBERS or (lower == "unknown" and self.peek().text.isdecimal()):
                return self._protocol(lower)
            state = words.state_of(text)
            if state is not None:
                return State((state,))
            if lower == "filler":
                zone = Number("zone", ((FILLER_ZONE, FILLER_ZONE),))
                return all_of([zone, Number("mark", ((FILLER_MARK, FILLER_MARK),))])
        if key in ("mark", "zone"):
            return negated(Number(key, ((0, 0),)))
        if key in ("helper", "secctx", "label", "state", "bytes", "packets", "rate"):
            return Known(key)
        if key is not None:
            raise FilterError(f"{text} needs a value", token.column + len(text), example(key))
        if option:
            raise unknown(token.text, token.column)
        node_or_none = self._typed(text)
        if node_or_none is None:
            node_or_none = self._several(token)
        if node_or_none is None:
            raise unknown(token.text, token.column)
        return node_or_none

    def _typed(self, text: str) -> Node | None:
        inherited, lower = self._inherited, text.lower()
        helpers = [h for h in words.HELPERS if h.lower() == lower]
        parts = [part for part in text.split(",") if part]
        if is_number_like(text) or (lower in words.SERVICES and (inherited in PORT_KEYS or not helpers)):
            return condition(inherited if inherited in NUMBER_KEYS else "port", "=", parts)
        if is_address_like(text):
            return condition(inherited if inherited in ADDRESS_KEYS else "host", "=", parts)
        point = endpoint(text)
        if point is not None:
            return at_endpoint("host", *point)
        return Text("helper", (helpers[0],)) if helpers else None

    def _several(self, token: Token) -> Node | None:
        """`ESTABLISHED,TIME_WAIT`: any of these words; None where there is only one."""
        column, parts = token.column, []
        for part in token.text.split(","):
            if part:
                parts.append(Token("word", part, column))
            column += len(part) + 1
        if "," not in token.text or '"' in token.text or not parts:
            return None
        found = [self._bare(part, words.key_of(part.text)) for part in parts]
        return any_of(node for node in found if node is not None)

    def _family(self, family: int) -> Node:
        if self.peek().text == str(family):  # `ipv4     2 tcp` in a pasted line
            self._next()
        return Number("family", ((family, family),))

    def _protocol(self, lower: str) -> Node:
        if lower == "unknown":  # `unknown  89 599 src=` in a pasted line
            protocol = int(number("proto", self._next().text))
            self._line = True
        else:
            protocol = words.PROTOCOL_NUMBERS[lower]
            if self.peek().text == str(protocol):  # `tcp      6 431999 ESTABLISHED`
                self._next()
                self._line = True
        if self._line and self.peek().text.isdecimal():
            self._next()  # the timeout, another one by now
        return Number("proto", ((protocol, protocol),))
