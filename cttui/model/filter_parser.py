"""Text to AST: a lexer, and a parser by recursive descent (or < and, juxtaposition < not)."""

import re
from dataclasses import dataclass

from cttui.model import filter_words as words
from cttui.model.filter_ast import (
    ADDRESS_KEYS,
    FLAGS,
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
from cttui.model.filter_values import (
    ValueFault,
    at_endpoint,
    condition,
    endpoint,
    example,
    is_address_like,
    is_number_like,
    number,
)
from cttui.model.flow import FILLER_MARK, FILLER_ZONE

MAX_LENGTH = 8192
MAX_DEPTH = 40


class FilterError(ValueError):
    """A filter that can't be read: what is wrong, at which column (from 0), and what may have been meant."""

    def __init__(self, message: str, column: int, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.suggestion = suggestion

    def __str__(self) -> str:
        hint = f" Try {self.suggestion}" if self.suggestion else ""
        return f"column {self.column + 1}: {self.message}.{hint}"


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: word, op, (, ), {, }, and, or, not, end."""

    kind: str
    text: str
    column: int


_TOKEN = re.compile(
    r"(?P<skip>\s+|\[(?:start|stop)=[^\]]*\]|\[(?:NEW|UPDATE|DESTROY)\])"  # what conntrack -E and -o timestamp add
    r"|(?P<and>&&?)|(?P<or>\|\|?)|(?P<op><=|>=|==|!=|<>|=|<|>)|(?P<not>!)|(?P<bracket>[(){}])"
    r"|(?P<word>(?:\"[^\"]*\"|[^\s()<>=!&|{}])+)"
)
_COMMA = re.compile(r",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)")  # not inside quotes
_OPPOSITE = {"!=", "<>"}
_REPLY = {"src": "reply-src", "dst": "reply-dst", "sport": "reply-sport", "dport": "reply-dport"}


def tokens(text: str) -> list[Token]:
    """The tokens, an `end` last."""
    out = []
    for match in _TOKEN.finditer(text):  # every character is in some group, so nothing is left out
        kind = match.lastgroup or ""
        found = match[0]
        if kind == "skip":
            continue
        if kind == "bracket":
            kind = found
        elif kind == "word" and found.lower() in ("and", "or", "not"):
            kind = found.lower()
        out.append(Token(kind, found, match.start()))
    out.append(Token("end", "", len(text)))
    return out


def parse(text: str) -> Node | None:
    """The filter's meaning, None for an empty one (everything). Raises FilterError."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"a filter has at most {MAX_LENGTH:,} characters", MAX_LENGTH)
    if not text.strip():
        return None
    parser = _Parser(tokens(text))
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
        relates = following.kind in ("op", "{") or following.text.lower() == "in"
        if relates or (following.kind == "not" and after.text.lower() == "in"):
            if key is not None:
                return self._operator(key, token)
            if words.flag_of(token.text):
                raise FilterError(f"{token.text} stands alone: it takes no value", following.column)
            raise self._unknown(token)
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

    def _takes_value(self, key: str, following: Token) -> bool:
        """Whether the next word is this key's value: always, unless the key also stands alone."""
        if following.kind != "word":
            return False
        flag = words.flag_of(following.text)
        if key in words.NAT_KEYS:
            return is_address_like(following.text)
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
            self._next()
            op = "!="
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
        try:
            texts = [text for text, _ in items]
            node = condition(key, "=" if opposite else op, texts, together=token.text.startswith("-"))
        except ValueFault as fault:
            raise FilterError(fault.message, items[fault.index][1], fault.suggestion) from fault
        return negated(node) if opposite else node

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
            raise self._unknown(token)
        node_or_none = self._typed(text)
        if node_or_none is None:
            raise self._unknown(token)
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

    @staticmethod
    def _unknown(token: Token) -> FilterError:
        name = token.text.lstrip("-").strip("[]").replace("_", "-")
        known = {
            **dict.fromkeys(
                (*words.STATES, *words.HELPERS, *words.FLAG_ALIASES, *words.NEGATED_FLAGS, *FLAGS)
            ),
            **dict.fromkeys((*words.PROTOCOL_NUMBERS, *words.FAMILIES, *words.SERVICES)),
            **words.ALIASES,
            **dict.fromkeys(words.KEYS),
        }
        near = words.nearest(name, known)
        what = "option" if token.text.startswith("-") else "word"
        return FilterError(
            f"{token.text!r} is no {what} of the filter language", token.column, known.get(near) or near
        )
