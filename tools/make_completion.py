"""Write cttui/cli/completions/ from the parser (shtab); `--check` only says whether the files are right."""

import argparse
import os
import sys
from collections.abc import Iterator

import shtab
from made import ROOT, keep

from cttui.cli.parser import build_parser
from cttui.lab.tales import ALL

FOLDER = ROOT / "cttui" / "cli" / "completions"
SHELLS = ("bash", "zsh", "fish")
THEMES = ROOT / "themes"
NETNS = {
    "bash": "_cttui_netns",
    "zsh": "{compadd -- /run/netns/*(N:t)}",
    "fish": "(command ls /run/netns 2>/dev/null)",
}
PREAMBLE = {
    "bash": "_cttui_netns() {\n  compgen -W \"$(command ls /run/netns 2>/dev/null)\" -- \"$1\"\n}\n",
    "zsh": "",
    "fish": "",
}  # fmt: skip


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)


def script(shell: str) -> str:
    """The completion of one shell: options, commands, names of tales and themes, files, namespaces."""
    # argparse wraps help at the terminal's width, and shtab reads COLUMNS through it.
    os.environ["COLUMNS"] = "80"
    parser = build_parser()
    parser.epilog = None
    for action in _actions(parser):
        if action.dest in ("config", "record", "replay", "file"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.dest == "netns":
            action.complete = NETNS  # type: ignore[attr-defined]
        elif action.dest in ("names", "tale"):
            action.choices = [tale.name for tale in ALL]
        elif action.dest == "theme":
            action.choices = sorted(path.stem for path in THEMES.glob("*.toml"))
    return str(shtab.complete(parser, shell, preamble=PREAMBLE)).rstrip() + "\n"


def main(argv: list[str]) -> int:
    """0 if the files are right or were written."""
    return keep({FOLDER / f"cttui.{shell}": script(shell) for shell in SHELLS}, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
