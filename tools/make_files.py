"""Write docs/files.md, what is in which file, from the first lines of the modules; `--check` only compares."""

import ast
import sys
from pathlib import Path

from made import ROOT, keep

PAGE = ROOT / "docs" / "files.md"
HEAD = """\
# Files

What is in which file, by its own first line: made by `tools/make_files.py` from `cttui/`, edit that. How the folders
depend on each other is told in [Architecture](architecture.md).
"""
FOLDERS = (
    ("", "The program"),
    ("model", "What both columns share"),
    ("client", "Targets and the link to a probe"),
    ("cli", "The command line"),
    ("diagnosis", "What a reading means"),
    ("lab", "Tales and bursts"),
    ("lab/tales", "The tales themselves"),
    ("ui", "The dashboard"),
    ("ui/widgets", "Panels of the dashboard"),
    ("probe", "The probe"),
    ("kernel", "What the kernel is asked"),
    ("flows", "The table of flows"),
)


def rows(folder: Path) -> list[str]:
    """A table row a module. Raises ValueError for a module that doesn't say what is in it."""
    out = []
    for path in sorted(folder.glob("*.py")):
        if path.name == "__init__.py":
            continue
        said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        if not said:
            raise ValueError(f"{path} has no docstring")
        words = said.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        out.append(f"| `{path.name}` | {words} |")
    return out


def page() -> str:
    """The page as it must be."""
    package = ROOT / "cttui"
    known = {package / name for name, _ in FOLDERS}
    if unknown := {path.parent for path in package.rglob("*.py")} - known:
        raise ValueError(f"not among FOLDERS: {unknown}")
    parts = [HEAD]
    for name, what in FOLDERS:
        title = f"cttui/{name}".rstrip("/")
        parts.append(f"## {title}\n\n{what}.\n\n| file | what is in it |\n|---|---|")
        parts += [*rows(package / name), ""]
    return "\n".join(parts)


def main(argv: list[str]) -> int:
    """0 if the page is right or was written."""
    return keep({PAGE: page()}, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
