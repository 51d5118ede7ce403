"""Write docs/cttui.1 from the parser; `--check` only says whether it is right."""

import argparse
import os
import sys
import textwrap
from collections.abc import Iterator

from made import ROOT, keep

from cttui import __version__
from cttui.cli.parser import DESCRIPTION, EXAMPLES, build_parser

DATE = "2026-11-28"
"""Of the last change to what the page says (man-pages(7))."""
PAGE = ROOT / "docs" / "cttui.1"

EXIT = (
    ("0", "Done."),
    (
        "1",
        "It can't be done here and now: the sentence on standard error says what is missing and what to do.",
    ),
    (
        "2",
        "Wrong usage: an unknown option, setting, tale, namespace or process, a filter that can't be read, no terminal.",
    ),
    ("3", "cttui tale: a prediction failed."),
    ("130", "Interrupted with Ctrl-C."),
    ("128+n", "The dashboard ended by signal n (SIGTERM: 143, SIGHUP: 129)."),
)
FILES = (
    ("$XDG_CONFIG_HOME/cttui/config.toml", "The configuration (usually ~/.config/cttui/config.toml); cttui config --sample prints one."),
    ("$XDG_CONFIG_HOME/cttui/themes/*.toml", "Themes of your own."),
    ("$XDG_STATE_HOME/cttui/state.json", "What the dashboard remembers: columns, order, theme, filters, saved bursts (usually below ~/.local/state)."),
)  # fmt: skip
ENVIRONMENT = (
    ("NO_COLOR", "If set and not empty, no colours."),
    ("TERM, COLORTERM, COLORFGBG", "How many colours the terminal has, and whether its background is light."),
    ("LC_ALL, LC_CTYPE, LANG", "A locale without UTF-8 gives plain ASCII."),
    ("TMUX, STY", "Copying wraps its escape sequence for tmux or screen."),
    ("SSH_CONNECTION, DISPLAY, WAYLAND_DISPLAY", "Whether the clipboard of this machine's desktop is yours."),
)  # fmt: skip
SEE = ("conntrack(8)", "iptables(8)", "nft(8)", "tcpdump(8)", "unshare(1)", "nsenter(1)")


def _text(text: str) -> str:
    """Escaped for roff."""
    out = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("→", "\\(->")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in out.split("\n"))


def _filled(text: str) -> str:
    """A paragraph, escaped, in lines that an editor shows whole."""
    return "\n".join(_text(line) for line in textwrap.wrap(text, 72, break_on_hyphens=False))


def _option(action: argparse.Action) -> str:
    """`-x`, `--option VALUE` as the page shows them."""
    names = ", ".join(f"\\fB{_text(name)}\\fR" for name in action.option_strings)
    if action.nargs == 0:
        return names
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    value = f"\\fI{_text(str(value))}\\fR"
    if not names:
        return f"[{value} ...]" if action.nargs == "*" else value
    return f"{names} {value}"


def _options(parser: argparse.ArgumentParser, help_too: bool = True) -> Iterator[str]:
    for group in parser._action_groups:
        actions = [
            a for a in group._group_actions
            if not isinstance(a, argparse._SubParsersAction) and (help_too or a.dest != "help")
        ]  # fmt: skip
        if not actions:
            continue
        if group.title not in ("options", "positional arguments"):
            yield f".PP\n{_text(str(group.title).capitalize())}:"
        for action in actions:
            yield f".TP\n{_option(action)}\n{_sentence(action.help or '')}"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return _filled(text if text.endswith((".", "…", ")")) or not text else text + ".")


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, child in action.choices.items():
                yield name, helps.get(name, ""), child


def _listed(title: str, items: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f".SH {title}"
    for name, text in items:
        yield f".TP\n\\fB{_text(name)}\\fR\n{_filled(text)}"


def page() -> str:
    """The whole page, in man(7) macros."""
    os.environ["COLUMNS"] = "80"
    parser = build_parser()
    head, _, tail = DESCRIPTION.partition(": ")
    out = [
        '.\\" Made by tools/make_man.py from cttui/cli/parser.py; edit that.',
        f'.TH CTTUI 1 "{DATE}" "cttui {__version__}" "User Commands"',
        ".SH NAME",
        f"cttui \\- {_text(head[:1].lower() + head[1:])}",
        ".SH SYNOPSIS",
        ".B cttui\n[\\fIOPTIONS\\fR]",
    ]
    for name, _, child in _commands(parser):
        rest = any(a.option_strings != ["-h", "--help"] for a in child._actions)
        out.append(f".br\n.B cttui {name}" + ("\n[\\fIOPTIONS\\fR]" if rest else ""))
        positional = [_option(a) for a in child._actions if not a.option_strings]
        out += positional
    out += [".SH DESCRIPTION", _filled(f"{head}: {tail}")]
    out += [
        ".PP",
        _filled(
            "Without a command it opens the dashboard: on the host where it may be seen, otherwise on a sandbox, "
            "a network namespace of its own that is gone when the program is. Keys are explained by ?."
        ),
        ".SH OPTIONS",
        *_options(parser),
        ".SH COMMANDS",
    ]
    for name, help_, child in _commands(parser):
        out.append(f".SS cttui {name}\n{_sentence(help_)}")
        out += _options(child, help_too=False)
    examples = EXAMPLES.partition("examples:\n")[2].partition("\n\n")[0]
    out += [".SH EXAMPLES\n.nf", _text("\n".join(line[2:] for line in examples.split("\n"))), ".fi"]
    out += _listed("EXIT STATUS", EXIT)
    out += _listed("FILES", FILES)
    out += _listed("ENVIRONMENT", ENVIRONMENT)
    out += [
        ".SH SEE ALSO",
        ",\n".join(f".BR {name[:-3]} {name[-3:]}" for name in SEE).replace("),\n", ") ,\n"),
    ]
    return "\n".join(out) + "\n"


def main(argv: list[str]) -> int:
    """0 if the page is right or was written."""
    return keep({PAGE: page()}, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
