"""No text from outside reaches the terminal with anything that the terminal or the eye obeys."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cttui.model.safe import clean

FORBIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def dangerous(character: str) -> bool:
    """Obeyed or invisible; the tag plane is invisible also where it is not assigned."""
    return unicodedata.category(character) in FORBIDDEN or 0xE0000 <= ord(character) <= 0xE0FFF


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain [bold]text[/bold] \\x1b", "plain [bold]text[/bold] \\x1b"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("pay\u202egpj.exe", "pay\\u202egpj.exe"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028sep", "line\\u2028sep"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("half\ud800", "half\\ud800"),
        ("übergröße 北京 é", "übergröße 北京 é"),
        (b"bytes \xff\xfe ok \xc3\xa9", "bytes \\xff\\xfe ok é"),
        (b"\x1b[2J", "\\x1b[2J"),
    ],
)
def test_examples(raw: str | bytes, shown: str) -> None:
    assert clean(raw) == shown


@given(st.text(st.characters(exclude_categories=[])) | st.binary())
def test_nothing_dangerous_remains(text: str | bytes) -> None:
    assert not any(map(dangerous, clean(text)))


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_else_changes(text: str) -> None:
    harmless = "".join(c for c in text if not dangerous(c))
    assert clean(harmless) == harmless
    assert clean(clean(text)) == clean(text)


@given(st.text(st.characters(exclude_categories=[])) | st.binary(), st.integers(0, 20))
def test_limit(text: str | bytes, limit: int) -> None:
    whole, cut = clean(text), clean(text, limit)
    assert len(cut) <= limit
    if len(whole) <= limit:
        assert cut == whole
    elif limit:
        assert cut[-1] == "…"
        assert whole.startswith(cut[:-1])
