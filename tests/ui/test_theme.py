"""Theme files: ours complete and readable to the eye, anyone's mistakes named by file, line and key."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.color import Color
from textual.geometry import Region
from textual.theme import Theme

from cttui.ui import theme
from cttui.ui.capture import capture_form
from cttui.ui.cells import Cells, named_style
from cttui.ui.lines import Line
from cttui.ui.theme import COLOURS, Problem

OURS, PROBLEMS = theme.load_themes(theme.theme_folder())
NAMES = ("ansi16", "colour-blind", "dark", "high-contrast", "light", "paper")
GRAPHICS = ("heading-rule", "scroll-thumb", "scroll-track", "bar", "bar-empty", "history", "history-alarm")
"""Lines and bars, not text: WCAG asks 3:1 of those that carry meaning, nothing of rules and tracks."""


def luminance(colour: Color) -> float:
    """Relative luminance, WCAG 2.2."""

    def linear(value: int) -> float:
        c = value / 255
        return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(colour.r) + 0.7152 * linear(colour.g) + 0.0722 * linear(colour.b)


def contrast(one: str, two: str) -> float:
    a, b = sorted((luminance(Color.parse(one)), luminance(Color.parse(two))), reverse=True)
    return (a + 0.05) / (b + 0.05)


def by_name(name: str) -> Theme:
    return next(t for t in OURS if t.name == name)


def test_ours_are_complete_and_without_a_problem() -> None:
    assert not PROBLEMS
    assert sorted(t.name for t in OURS) == list(NAMES)
    for path in theme.theme_folder().glob("*.toml"):
        alone: list[Problem] = []
        parsed = theme.parse(path.read_text(), path, {}, alone)
        assert parsed is not None and not alone
        said = set(theme.tomllib.loads(path.read_text())["variables"])
        assert set(COLOURS) <= said, f"{path.name} lacks {set(COLOURS) - said}"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ansi16"])
def test_text_is_readable(name: str) -> None:
    """WCAG AA (4.5:1) for every text colour on every ground it can stand on; AAA (7:1) for the projector."""
    t = by_name(name)
    least = 7.0 if name == "high-contrast" else 4.5
    grounds = {"background": t.background, "surface": t.surface, "panel": t.panel}
    too_low = []
    for colour in (*COLOURS, "foreground"):
        own = t.variables.get(f"{colour}-background")
        ink = t.foreground if colour == "foreground" else t.variables[colour]
        need = least
        if colour in GRAPHICS:
            need = 3.0 if colour in ("bar", "history", "history-alarm", "scroll-thumb") else 1.0
        for ground, paper in ({f"{colour}-background": own} if own else grounds).items():
            assert ink is not None and paper is not None
            if (found := contrast(ink, paper)) < need:
                too_low.append(f"{colour} {ink} on {ground} {paper}: {found:.2f}")
    assert not too_low


DICHROMATS = {
    "deuteranope": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "protanope": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
}
"""What is left of linear RGB: Machado, Oliveira and Fernandes 2009, severity 1."""
BADGES = ("host", "sandbox", "frozen", "past", "alarm")
TOLD_APART = (
    ("state-opening", "state-established", "state-closing", "state-closed"),
    ("level-ok", "level-warn", "level-full"),
    ("flow-new", "flow-changed", "flow-ended"),
    ("verdict-accept", "verdict-drop", "verdict-jump"),
    ("hook", "hook-conntrack", "hook-idle", "hook-loss"),
    ("history", "history-alarm"), ("fate-passed", "fate-lost"), ("right", "wrong"),
    ("heading", "heading-focus", "error-text"), ("value", "key", "level-warn"),
    tuple(f"badge-{badge}-background" for badge in BADGES),
)  # fmt: skip
"""Meanings that stand beside each other."""


def lab(colour: str, seen: tuple[tuple[float, ...], ...]) -> list[float]:
    """CIELAB of a colour as a dichromat sees it."""
    c = Color.parse(colour)
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in c.normalized]
    r, g, b = (
        min(1.0, max(0.0, sum(k * v for k, v in zip(row, linear, strict=True)))) for row in seen
    )  # fmt: skip
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.0888
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize("eye", DICHROMATS)
def test_colour_blind_tells_meanings_apart(eye: str) -> None:
    """Some nine times what one just notices (2.3 in CIELAB)."""
    variables, seen = by_name("colour-blind").variables, DICHROMATS[eye]
    alike = [
        f"{a} {b}: {distance:.0f}"
        for names in TOLD_APART
        for a, b in itertools.combinations(names, 2)
        if (distance := math.dist(lab(variables[a], seen), lab(variables[b], seen))) < 20
    ]
    assert not alike


@pytest.mark.parametrize("name", ["ansi16", "paper"])
def test_styles_tell_what_colours_would(name: str) -> None:
    """ansi16 is what NO_COLOR gets: there only styles are left."""

    def look(colour: str) -> tuple[str | None, ...]:
        keys = (
            (f"{colour}-style",) if name == "ansi16" else (colour, f"{colour}-background", f"{colour}-style")
        )
        return tuple(by_name(name).variables.get(key) for key in keys)

    for least, warning, worst in (
        ("label", "level-warn", "error-text"), ("hook", "hook-conntrack", "hook-loss"),
        ("hook-idle", "verdict-drop", "hook-loss"), ("hook-conntrack", "label", "error-text"),
    ):  # fmt: skip
        assert len({look(least), look(warning), look(worst)}) == 3, (least, warning, worst)
    assert look("fate-passed") != look("fate-lost")
    assert look("badge-host") != look("badge-alarm")
    if name == "paper":
        assert len({look(f"badge-{badge}") for badge in ("host", "sandbox", "frozen")}) == 3
        assert look("key") != look("label") and look("right") != look("wrong")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "paper"])
def test_badges_differ(name: str) -> None:
    """Host and alarm, or a frozen picture and a recording, are told apart before they are read; paper has no colours."""
    ground = "" if by_name(name).ansi else "-background"  # ansi16 paints them in reverse
    grounds = [by_name(name).variables[f"badge-{badge}{ground}"] for badge in BADGES]
    assert len(set(grounds)) == len(BADGES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ansi16"])
def test_colours_are_the_same_with_256(name: str) -> None:
    """Every colour is one of xterm's cube or greys, so that 256-colour terminals keep the contrast above."""
    steps = {0x00, 0x5F, 0x87, 0xAF, 0xD7, 0xFF}
    for key, value in by_name(name).variables.items():
        if value.startswith("#"):
            c = Color.parse(value)
            grey = c.r == c.g == c.b and (c.r - 8) % 10 == 0
            assert grey or {c.r, c.g, c.b} <= steps, f"{key} {value}"


def test_ansi16_uses_only_the_terminals_own_colours() -> None:
    t = by_name("ansi16")
    assert t.ansi
    colours = [
        t.primary,
        t.error,
        t.background,
        *(v for k, v in t.variables.items() if not k.endswith("-style")),
    ]
    assert all(value is not None and value.startswith("ansi_") for value in colours)
    # What differs by colour only must differ by weight too: NO_COLOR takes the colours away.
    for plain, loud in (
        ("hook", "hook-loss"),
        ("fate-passed", "fate-lost"),
        ("", "cursor"),
        ("", "badge-alarm"),
    ):
        assert t.variables.get(f"{plain}-style") != t.variables.get(f"{loud}-style")


def written(tmp_path: Path, text: str) -> tuple[list[Theme], list[Problem]]:
    (tmp_path / "mine.toml").write_text(text)
    themes, problems = theme.load_themes(theme.theme_folder(), tmp_path)
    return [t for t in themes if t.name not in NAMES], problems


def test_a_short_theme_takes_the_rest_from_ours(tmp_path: Path) -> None:
    [mine], problems = written(tmp_path, 'name = "mine"\ndark = false\naccent = "#870000"\n')
    assert not problems
    light = by_name("light")
    assert (mine.name, mine.accent, mine.background) == ("mine", "#870000", light.background)
    assert mine.variables == light.variables
    [mine], problems = written(tmp_path, '[variables]\ncursor = "black"\n')
    assert mine.name == "mine" and mine.variables["cursor"] == "black"
    assert "cursor-background" not in mine.variables, "a new ink does not want the old ground"


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ('primry = "red"\n', 1, "primry", 'did you mean "primary"'),
        ('name = "x"\nprimary = "#12345"\n', 2, "primary", "'#12345' is no colour"),
        ('primary = "rde"\n', 1, "primary", 'did you mean "red"'),
        ('primary = 7\n', 1, "primary", "must be text"),
        ('dark = "yes"\n', 1, "dark", "true or false"),
        ("text_alpha = 2\n", 1, "text_alpha", "from 0 to 1"),
        ('cursor = "red"\n', 1, "cursor", "belongs under [variables]"),
        ('variables = "red"\n', 1, "variables", "must be a table"),
        ('[variables]\n\n# one\nstate-establishd = "red"\n', 4, "state-establishd", 'did you mean "state-established"'),
        ('[variables]\ncursor-style = "bald"\n', 2, "cursor-style", "unknown text style 'bald'; did you mean \"bold\""),
        ('[variables]\ncursor = "nonsense"\n', 2, "cursor", "is no colour"),
        ("[variables]\ncursor = [1]\n", 2, "cursor", "must be text"),
        ('variables.cursor = "nonsense"\n', 1, "cursor", "is no colour"),
        ('name = "x"\nprimary = \n', 2, "", "is not TOML"),
        ('name = "x', 1, "", "is not TOML"),
        ('name = "no spaces please"\n', 1, "name", "letters, digits"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_and_costs_only_itself(
    tmp_path: Path, text: str, line: int, key: str, says: str
) -> None:
    mine, problems = written(tmp_path, text)
    assert [(p.file.name, p.line, p.key) for p in problems] == [("mine.toml", line, key)]
    assert says in problems[0].sentence and f"mine.toml:{line}: " in str(problems[0])
    assert len(mine) == (0 if "TOML" in says else 1)
    assert theme.notices(problems) == [str(problems[0])]


def test_textuals_own_variables_are_known(tmp_path: Path) -> None:
    _, problems = written(
        tmp_path, '[variables]\nfooter-key-foreground = "red"\ntext-muted = "auto 60%"\nlink-style = "none"\n'
    )
    assert not problems


def test_one_notice_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('primary = "x"\nerror = "y"\n')
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    _, problems = theme.load_themes(theme.theme_folder(), tmp_path)
    notices = theme.notices(problems)
    assert len(notices) == 2 and notices[0].count("\n") == 1 and "can't be read" in notices[1]


def test_without_any_theme_there_is_still_one(tmp_path: Path) -> None:
    [only], problems = theme.load_themes(tmp_path / "nothing")
    assert only.ansi and set(COLOURS) <= set(only.variables) and len(problems) == 1


def test_what_suits_the_terminal() -> None:
    def suits(**environ: str) -> str:
        return theme.default_name(environ)

    assert suits(TERM="xterm-256color") == "dark"
    assert suits(TERM="xterm-256color", COLORFGBG="0;15") == "light"
    assert suits(TERM="xterm-256color", COLORFGBG="15;default;0") == "dark"
    assert suits(TERM="xterm-256color", NO_COLOR="1") == "ansi16"
    assert suits(TERM="linux") == suits(TERM="screen") == suits() == "ansi16"
    assert suits(TERM="screen", COLORTERM="truecolor") == "dark"


class Painted(Cells):
    def lay_out(self, width: int, height: int) -> list[Line]:
        return [((name, name),) for name in COLOURS[:height]]


class Themed(App[None]):
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, name: str) -> None:
        super().__init__(ansi_color=theme.native_colours())
        for t in OURS:
            self.register_theme(t)
        self.theme = name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.variable_defaults()

    def compose(self) -> ComposeResult:
        yield Painted()


@pytest.mark.parametrize("name", [*NAMES, "textual-light", "nord"])
async def test_every_theme_paints_and_can_be_changed(name: str) -> None:
    app = Themed("dark")
    async with app.run_test(size=(40, len(COLOURS))) as pilot:
        widget = app.query_one(Painted)
        before = widget.render_line(0)
        app.theme = name
        await pilot.pause()
        variables = app.theme_variables
        for y, colour in enumerate(COLOURS):
            style = next(iter(widget.render_line(y))).style
            want = named_style(variables, colour)
            assert style is not None and style.color == (want.color or style.color)
            assert want.bgcolor is None or style.bgcolor == want.bgcolor
        if name != "dark":
            assert widget.render_line(0) != before


async def test_no_color_leaves_no_colour_and_nothing_invisible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Themed(theme.default_name())
    async with app.run_test(size=(40, len(COLOURS))) as pilot:
        await pilot.pause()
        strips = app.query_one(Painted).render_lines(Region(0, 0, 40, len(COLOURS)))
        styles = [segment.style for strip in strips for segment in strip if segment.style is not None]
        assert styles
        for style in styles:
            assert style.color is None or style.color.is_default
            assert style.bgcolor is None or style.bgcolor.is_default
        assert {"reverse", "bold", "dim"} <= {word for style in styles for word in str(style).split()}


@pytest.mark.parametrize("name", NAMES)
async def test_what_may_be_typed_is_readable_on_screen(play: Callable[..., Any], name: str) -> None:
    """Placeholders and suggestions of fields, as painted: style sheets of Textual's and ours meet in them."""
    placeholders = ("every packet", "all interfaces")
    async with play("host", (80, 24), theme=name) as d:
        await d.until("The packet log was off")
        d.app.push_screen(capture_form(False))
        await d.until(placeholders[1], asking=False)
        for focused in ("filter", "interface"):
            d.app.screen.query_one(f"#{focused}").focus()
            await d.pilot.pause()
            segments = [s for strip in d.app.screen._compositor.render_strips() for s in strip]
            for words in placeholders:
                painted = [s for s in segments if s.text.strip() and s.text.strip() in (words, words[1:])]
                assert painted, words
                style = painted[0].style
                assert style is not None and style.italic
                if name == "ansi16":  # the terminal's own colours: only that none is made from them
                    assert style.color is None or style.color.triplet is None
                    continue
                assert style.color is not None and style.bgcolor is not None
                ink, paper = (c.get_truecolor().hex for c in (style.color, style.bgcolor))
                assert contrast(ink, paper) >= (7.0 if name == "high-contrast" else 4.5), (ink, paper)
