"""Completion scripts of the shells, made from the parser by tools/make_completion.py."""

from pathlib import Path

FOLDER = Path(__file__).parent / "completions"


def text(shell: str) -> str:
    """The completion script of `bash`, `zsh` or `fish`."""
    return (FOLDER / f"cttui.{shell}").read_text(encoding="utf-8")


def run(shell: str) -> None:
    """Print it."""
    print(text(shell), end="")
