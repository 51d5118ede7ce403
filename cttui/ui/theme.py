"""Theme files → Textual themes. A mistake costs the key it is in, never the start.

A theme file is TOML: the fields of `textual.theme.Theme`, and under `[variables]` this program's colours
and any of Textual's own. What a file leaves out comes from our `dark`, `light` or `ansi16`, whichever fits
its `dark` and `ansi`, so that a theme of one's own can be three lines long.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.design import ColorSystem
from textual.theme import Theme

from cttui.client import config

COLOURS: tuple[str, ...] = (
    "heading", "heading-rule", "heading-note", "heading-focus",
    "label", "value", "muted", "error-text", "right", "wrong", "key",
    "header", "header-sorted", "cursor", "cursor-blurred", "scroll-thumb", "scroll-track",
    "state-opening", "state-established", "state-closing", "state-closed",
    "flow-new", "flow-fading", "flow-changed", "flow-ended",
    "level-ok", "level-warn", "level-full", "bar", "bar-empty", "history", "history-alarm",
    "hook", "hook-conntrack", "hook-idle", "hook-loss", "verdict-accept", "verdict-drop", "verdict-jump",
    "fate-passed", "fate-lost", "digits", "caption",
    "badge-host", "badge-sandbox", "badge-frozen", "badge-past", "badge-alarm",
)  # fmt: skip
"""Names of our colours. Each may have `-background` and `-style` beside it."""
VARIABLES: tuple[str, ...] = tuple(
    f"{name}{part}" for name in COLOURS for part in ("", "-background", "-style")
)

BASES = ("dark", "light", "ansi16")
"""Themes that others build on."""
_FALLBACK = dict.fromkeys(COLOURS, "ansi_default") | {
    "level-warn": "ansi_yellow", "level-full": "ansi_red", "hook-loss": "ansi_red", "verdict-drop": "ansi_red",
    "fate-lost": "ansi_red", "error-text": "ansi_red", "wrong": "ansi_red", "history-alarm": "ansi_red",
    "cursor-style": "reverse", "heading-focus-style": "bold", "header-style": "bold",
}  # fmt: skip
"""What holds where not even our own files can be read: an installation without its themes folder."""
_STYLES = {
    "none",
    "bold",
    "b",
    "dim",
    "d",
    "italic",
    "i",
    "underline",
    "u",
    "reverse",
    "r",
    "strike",
    "s",
    "blink",
    "not",
}
_FIELDS = {field.name: field.type for field in fields(Theme)}
_AT = re.compile(r"\(at line (\d+), column \d+\)|\(at end of document\)")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a theme file. `line` 0: nowhere in particular."""

    file: Path
    line: int
    key: str
    sentence: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        return f"{where}: {self.key}: {self.sentence}" if self.key else f"{where}: {self.sentence}"


def notices(problems: Iterable[Problem]) -> list[str]:
    """One notice for each file that has problems, a line for each of them."""
    by_file: dict[Path, list[str]] = {}
    for problem in problems:
        by_file.setdefault(problem.file, []).append(str(problem))
    return ["\n".join(lines) for lines in by_file.values()]


def theme_folder() -> Path:
    """Our own theme files: inside the package where it was installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "themes"
    return inside if inside.is_dir() else package.parent / "themes"


def user_folder() -> Path:
    """A person's own theme files."""
    return config.folder() / "themes"


def load_themes(*folders: Path, only: str = "") -> tuple[list[Theme], list[Problem]]:
    """The themes of `folders` (ours, then the person's own), and everything that was wrong with them.

    A later theme replaces an earlier one of the same name. Always returns at least one theme. `only`: no more
    than this one and what it builds on, so that the first frame need not wait for the others.
    """
    themes: dict[str, Theme] = {}
    problems: list[Problem] = []
    for folder in folders or (theme_folder(), user_folder()):
        # The three that others build on come first.
        paths = sorted(folder.glob("*.toml"), key=lambda path: (path.stem not in BASES, path.name))
        for path in paths:
            if only and path.stem != only and (only in BASES or path.stem not in BASES):
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as e:
                problems.append(Problem(path, 0, "", f"can't be read: {e}"))
                continue
            theme = parse(text, path, themes, problems)
            if theme is not None:
                themes[theme.name] = theme
    if not themes:
        themes["ansi16"] = Theme("ansi16", primary="ansi_blue", ansi=True, variables=dict(_FALLBACK))
        problems.append(
            Problem(theme_folder(), 0, "", "holds no theme that can be read: plain colours are used")
        )
    return list(themes.values()), problems


def parse(text: str, path: Path, known: Mapping[str, Theme], problems: list[Problem]) -> Theme | None:
    """One theme file; problems are appended. None where it is not TOML at all.

    `known` are themes loaded before: what the file leaves out, or says wrongly, comes from the one it is like.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        at = _AT.search(str(e))
        line = int(at[1]) if at and at[1] else text.count("\n") + 1
        problems.append(Problem(path, line, "", f"is not TOML: {_AT.sub('', str(e)).strip()}"))
        return None
    lines = _key_lines(text)

    def wrong(key: str, sentence: str, table: str = "") -> None:
        problems.append(Problem(path, lines.get((table, key), 0), key, sentence))

    said: dict[str, Any] = {}
    for key, value in document.items():
        fault = _field_fault(key, value)
        if fault:
            wrong(key, fault)
        elif key != "variables":
            said[key] = value
    variables = {}
    table = document.get("variables")
    for key, value in (table if isinstance(table, dict) else {}).items():
        fault = _variable_fault(key, value)
        if fault:
            wrong(key, fault, "variables")
        else:
            variables[key] = value
    like = known.get("ansi16" if said.get("ansi") else "dark" if said.get("dark", True) else "light")
    if like is None:
        said.setdefault("primary", "ansi_blue")
        base, inherited = {}, dict(_FALLBACK)
    else:
        base = {name: getattr(like, name) for name in _FIELDS if name not in ("name", "variables", "boost")}
        inherited = dict(like.variables)
    for key in variables:
        # Another colour without a word on background and style does not want the old ones.
        if key in COLOURS:
            inherited.pop(f"{key}-background", None)
            inherited.pop(f"{key}-style", None)
    return Theme(**{**base, "name": path.stem, **said, "variables": {**inherited, **variables}})


def variable_defaults() -> dict[str, str]:
    """Every variable with a value that any theme can live with, for `App.get_theme_variable_defaults`.

    A style sheet may name `$x-background` and `$x-style` of any of our colours.
    """
    # Textual's style sheet wants these two of a theme with `ansi = true` (textual/screen.py).
    out = {"ansi-background": "ansi_default", "ansi-foreground": "ansi_default"}
    for name in COLOURS:
        out[name] = _FALLBACK[name]
        out[f"{name}-background"] = _FALLBACK.get(f"{name}-background", "transparent")
        out[f"{name}-style"] = _FALLBACK.get(f"{name}-style", "none")
    return out


def default_name(environ: Mapping[str, str] = os.environ) -> str:
    """The theme that suits the terminal where the person has not chosen one.

    ansi16 under NO_COLOR and where no more than 16 colours are known; light where the terminal says that
    its background is (COLORFGBG, set by rxvt, Konsole and others: "foreground;background").
    """
    term = environ.get("TERM", "")
    many = "256" in term or environ.get("COLORTERM", "") in ("truecolor", "24bit") or "direct" in term
    if environ.get("NO_COLOR") or not many:
        return "ansi16"
    return "light" if environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15") else "dark"


def native_colours(environ: Mapping[str, str] = os.environ) -> bool | None:
    """The `ansi_color` argument of `App`, which must be right before the first theme is chosen.

    Under NO_COLOR Textual picks its filter when the app is made: the one that takes all colours away only
    where it is told so then, otherwise one that makes the terminal's own colours black on black.
    """
    return True if environ.get("NO_COLOR") else None


def _key_lines(text: str) -> dict[tuple[str, str], int]:
    """(table, key) → line, for a message; a key inside a multi-line string may fool it."""
    out: dict[tuple[str, str], int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            table = found[1].strip("\"'")
            out.setdefault(("", table), number)
        elif found := re.match(
            r"\s*(?:\"([^\"]+)\"|'([^']+)'|([A-Za-z0-9_-]+))\s*(\.\s*([A-Za-z0-9_-]+)\s*)?=", line
        ):
            key = found[1] or found[2] or found[3]
            out.setdefault((key, found[5]) if found[5] else (table, key), number)
            if found[5]:
                out.setdefault(("", key), number)
    return out


def _near(key: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(key, list(known), 1, 0.6)
    return f'; did you mean "{found[0]}"?' if found else ""


def _field_fault(key: str, value: object) -> str:
    if key not in _FIELDS:
        return f"no field of a theme{_near(key, [*_FIELDS, *COLOURS])}" + (
            " It belongs under [variables]." if key in VARIABLES else ""
        )
    if key == "variables":
        return "" if isinstance(value, dict) else "must be a table: [variables]"
    if key in ("dark", "ansi"):
        return "" if isinstance(value, bool) else f"must be true or false, not {value!r}"
    if key in ("luminosity_spread", "text_alpha"):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
        return "" if fits else f"must be a number from 0 to 1, not {value!r}"
    if not isinstance(value, str):
        return f"must be text in quotes, not {value!r}"
    if key == "name":
        return "" if re.fullmatch(r"[A-Za-z0-9_-]+", value) else "must be letters, digits, - and _"
    return _colour_fault(value)


def _variable_fault(key: str, value: object) -> str:
    if key not in VARIABLES and key not in _textual_variables():
        return f"unknown variable{_near(key, [*VARIABLES, *_textual_variables()])}"
    if not isinstance(value, str):
        return f"must be text in quotes, not {value!r}"
    if key.endswith("-style") or "-style-" in key:
        unknown = [word for word in value.split() if word not in _STYLES]
        return f"unknown text style {unknown[0]!r}{_near(unknown[0], _STYLES)}" if unknown else ""
    return _colour_fault(value)


def _colour_fault(value: str) -> str:
    colour = re.sub(r"\s+\d+(\.\d+)?%$", "", value)
    if colour == "auto":
        return ""
    try:
        Color.parse(colour)
    except ColorParseError as e:
        return f"{value!r} is no colour" + (
            f'; did you mean "{e.suggested_color}"?' if e.suggested_color else ""
        )
    return ""


def _textual_variables() -> frozenset[str]:
    """Names that Textual itself generates from a theme."""
    global _generated
    if _generated is None:
        plain = ColorSystem("red").generate()
        _generated = frozenset(plain) | frozenset(ColorSystem("ansi_red", ansi=True).generate())
    return _generated


_generated: frozenset[str] | None = None
