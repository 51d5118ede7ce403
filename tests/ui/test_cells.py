"""Cells: widths, cuts, ASCII, and the difference of two lines that is all that goes to the terminal."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from cttui.ui import cells
from cttui.ui.ascii import ascii_only, to_ascii
from cttui.ui.cells import changed_runs
from cttui.ui.lines import Line, clip, clip_ends, clip_middle, clip_words, fit, keyed, pad, spread, width_of

TEXT = st.text(st.sampled_from("abc 019.:…─█▁日本é\u0301🙂"), max_size=30)
LINES = st.lists(st.tuples(TEXT, st.sampled_from(["", "muted", "value"])), max_size=6)


def _cells(line: Line) -> list[tuple[str, str]]:
    """(character, style) of each cell, "" for the second one of a wide character."""
    styles = [style for text, style in line for _ in range(width_of(text))]
    return list(zip(cells._cells(line), styles, strict=True))


@given(TEXT, st.integers(0, 40))
def test_cuts_and_fills_are_exact(text: str, width: int) -> None:
    assert width_of(clip(text, width)) <= width
    assert width_of(clip_middle(text, width, 5)) <= width
    assert width_of(pad(text, width)) == width_of(pad(text, width, True)) == width
    if width_of(text) > width > 0:
        assert "…" in clip(text, width) and "…" in clip_middle(text, width)


@given(LINES, st.integers(0, 60))
def test_a_fitted_line_has_the_width(line: list[tuple[str, str]], width: int) -> None:
    fitted = fit(line, width)
    assert sum(width_of(text) for text, _ in fitted) == width
    assert all(one[1] != two[1] for one, two in itertools.pairwise(fitted)), "neighbours are merged"


def test_a_fitted_line_is_cut_once() -> None:
    line = [("icmpv6", "label"), (" 1 · ", "value"), ("ESTABLISHED", "label"), (" 7", "value")]
    for width in range(4, 20):
        assert "".join(text for text, _ in fit(line, width)).count("…") <= 1


@given(LINES, LINES, st.integers(1, 60))
def test_changed_runs_turn_the_old_line_into_the_new(
    old: list[tuple[str, str]], new: list[tuple[str, str]], width: int
) -> None:
    was, now = fit(old, width), fit(new, width)
    runs = changed_runs(was, now)
    screen, wanted = _cells(was), _cells(now)
    for start, end in runs:
        assert wanted[start][0] != "" and (end == width or wanted[end][0] != ""), "no wide character is split"
        assert screen[start][0] != "" and (end == width or screen[end][0] != "")
        screen[start:end] = wanted[start:end]
    assert screen == wanted
    assert all(a[1] < b[0] for a, b in itertools.pairwise(runs))
    if was == now:
        assert runs == []


def test_what_passes_for_narrow_takes_one_cell() -> None:
    characters = [chr(n) for n in range(0x20000) if cells._NARROW.fullmatch(chr(n))]
    assert len(characters) > 500
    assert all(cell_len(character) == 1 for character in characters)


def test_near_changes_are_one_run_and_far_ones_two() -> None:
    def line(*at: int) -> Line:
        return (("".join("x" if i in at else "." for i in range(120)), ""),)

    assert changed_runs(line(), line(3, 40)) == [(3, 41)], "37 cells are cheaper than a move and a style"
    assert changed_runs(line(), line(3, 90)) == [(3, 4), (90, 91)]
    striped: Line = tuple((".", ("a", "b")[i % 2]) for i in range(20))
    changed = (("x", "a"), *striped[1:19], ("x", "b"))
    assert changed_runs(striped, changed) == [(0, 1), (19, 20)], "bridging costs a style a cell here"


@given(st.text(max_size=30))
def test_ascii_keeps_the_width(text: str) -> None:
    plain = to_ascii(text)
    assert plain.isascii()
    if text.isprintable():
        assert len(plain) == cell_len(text)


def test_spread_clips_the_left() -> None:
    assert "".join(t for t, _ in spread([("left side", "")], [("right", "")], 10)) == "left…right"
    assert "".join(t for t, _ in spread([("l", "")], [("r", "")], 5)) == "l   r"


@pytest.mark.parametrize(
    ("environ", "plain"),
    [
        ({"LANG": "en_GB.UTF-8"}, False),
        ({"LANG": "C"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),  # as Python leaves it after LANG=C
        ({"LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "C"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, True),
        ({"LANG": "en_GB.UTF-8", "TERM": "linux"}, True),
        ({}, False),
    ],
)
def test_which_locales_are_ascii(environ: dict[str, str], plain: bool) -> None:
    assert ascii_only(environ) is plain


def test_words_are_cut_between_words() -> None:
    assert clip_words("10 SYN from ports", 20) == "10 SYN from ports"
    assert clip_words("10 SYN from ports", 14) == "10 SYN from…"
    assert clip_words("10 SYN from ports", 12) == "10 SYN from…"
    assert clip_words("10 SYN, all from", 9) == "10 SYN…"
    assert clip_words("unbreakableword", 6) == "unbre…"
    assert [clip_words("a b", n) for n in (0, 1, 2)] == ["", "…", "a…"]


def test_where_ends_are_cut_ports_stay() -> None:
    ends = ("198.51.100.2:10000", "192.0.2.1:80")
    assert clip_ends(*ends, 33) == "198.51.100.2:10000 > 192.0.2.1:80"
    assert clip_ends(*ends, 30) == "198.51.…2:10000 > 192.0.2.1:80"
    assert clip_ends(*ends, 22) == "198…:10000 > 192.…1:80"
    assert clip_ends(*ends, 16) == ":10000 > :80"
    assert clip_ends("[2001:db8:1234::1]:50000", "[2001:db8::1]:443", 30) == "[2001:d…:50000 > [2001:…1]:443"
    assert clip_ends("2001:db8:1234::1", "2001:db8::1", 18) == "2001…::1 > 200…::1"
    assert all(width_of(clip_ends(*ends, n)) <= n for n in range(40))


def test_a_key_is_marked_before_what_it_does() -> None:
    assert keyed("  b  fire 10 SYNs", "muted") == [("  b", "key"), ("  fire 10 SYNs", "muted")]
    assert keyed("An empty table.", "") == [("An empty table.", "")]
