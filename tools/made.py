"""Files that are made from the program: written, or with `--check` only compared."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def keep(files: Mapping[Path, str], argv: Sequence[str]) -> int:
    """Write the files as they must be; with `--check` in `argv` name those that are not. 0 if all is right then."""
    wrong = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in argv:
        for path in wrong:
            print(f"{path.relative_to(ROOT)} is out of date: make keys", file=sys.stderr)
        return int(bool(wrong))
    for path in wrong:
        path.parent.mkdir(exist_ok=True)
        path.write_text(files[path], "utf-8")
    return 0
