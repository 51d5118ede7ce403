"""The filter language as tokens, each with its column."""

import re
from dataclasses import dataclass


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
