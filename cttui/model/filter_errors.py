"""What is said of a filter that can't be read."""

import re

from cttui.model import filter_words as words
from cttui.model.filter_ast import FLAGS
from cttui.model.filter_values import is_address_like


class FilterError(ValueError):
    """A filter that can't be read: what is wrong, at which column (from 0), and what may have been meant."""

    def __init__(self, message: str, column: int, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.suggestion = suggestion

    @property
    def hint(self) -> str:
        """The suggestion as a sentence, "" without one."""
        if not self.suggestion:
            return ""
        spelling = not set("=<>(){}/: ") & set(self.suggestion)
        return f"Did you mean {self.suggestion}?" if spelling else f"Try {self.suggestion}"

    def __str__(self) -> str:
        return f"column {self.column + 1}: {self.message}. {self.hint}".rstrip()


def unknown(text: str, column: int) -> FilterError:
    """The error for a word that is none, with what other tools or a slip of the keyboard may have meant by it."""
    what = "option" if text.startswith("-") else "word"
    sentence, suggestion = f"{text!r} is no {what} of the filter language", _meant(text)
    if re.fullmatch(r"\d+(\.\d+){3,4}([:/].*)?", text):
        sentence = f"{text!r} is no address"
    elif text.lower() == "localhost" or (not suggestion and re.fullmatch(r"[A-Za-z][\w-]*(\.[\w-]+)+", text)):
        sentence, suggestion = f"{text!r} is no address: names are not looked up", ""
    return FilterError(sentence, column, suggestion)


def _meant(text: str) -> str:
    key, colon, value = text.partition(":")
    if colon and value and words.key_of(key):
        return f"{key}={value}"
    one, _, two = text.replace(":", "/").partition("/")
    for proto, port in ((one, two), (two, one)):  # 443/tcp
        if proto.lower() in words.PROTOCOL_NUMBERS and port.isdecimal():
            return f"{proto} {port}"
    host, _, port = text.rpartition(".")  # tcpdump's 10.0.0.1.443
    if port.isdecimal() and (":" in host or host.count(".") == 3) and is_address_like(host):
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    name = text.lstrip("-").strip("[]").replace("_", "-")
    known = {
        **dict.fromkeys((*words.STATES, *words.HELPERS, *words.FLAG_ALIASES, *words.NEGATED_FLAGS, *FLAGS)),
        **dict.fromkeys((*words.PROTOCOL_NUMBERS, *words.FAMILIES, *words.SERVICES)),
        **words.ALIASES,
        **dict.fromkeys(words.KEYS),
    }
    near = words.nearest(name, known)
    return words.HINTS.get(name.lower()) or known.get(near) or near
