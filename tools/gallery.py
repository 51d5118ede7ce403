"""Every screen and dialog in every theme at three sizes, from real runs, to be looked at before a release.

    python tools/gallery.py --to DIR             # all scenes; takes a quarter of an hour and a gigabyte
    python tools/gallery.py --to DIR full tour   # scenes by name; those with a + fill a table meanwhile
    python tools/gallery.py --to DIR --theme light --size 80x24 composer

DIR/THEME/SIZE/PICTURE.png, and DIR/index.tsv: picture, scene, class of the screen, sentence. Needs root, and
rsvg-convert (Debian: librsvg2-bin) with DejaVu Sans Mono. Screens that no picture shows are named at the end.
"""

import argparse
import asyncio
import importlib
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import gallery_dialogs
import gallery_hosts
import gallery_panels
import gallery_tales
from gallery_stage import Gallery, Scene
from stage import SIZES, words
from textual.screen import Screen

import cttui.ui
from cttui.ui import theme
from cttui.ui.dialogs import Dialog
from cttui.ui.layouts import Panels

SCENES: dict[str, Scene] = {
    **gallery_panels.SCENES, **gallery_dialogs.SCENES, **gallery_tales.SCENES, **gallery_hosts.SCENES,
}  # fmt: skip
BASES = (Dialog, Panels)
"""Never on screen themselves."""


def screens() -> Iterator[type]:
    """Every screen class of the program."""
    for module in pkgutil.walk_packages(cttui.ui.__path__, "cttui.ui."):
        for one in vars(importlib.import_module(module.name)).values():
            if (
                isinstance(one, type)
                and issubclass(one, Screen)
                and one.__module__ == module.name
                and one not in BASES
            ):
                yield one


def class_name(one: type) -> str:
    """`capture.Form`: two screens are called Form."""
    return f"{one.__module__.rpartition('.')[2]}.{one.__name__}"


async def play(names: Sequence[str], folder: Path, themes: Sequence[str], sizes: Sequence[str]) -> None:
    """Play scenes, one after another, each a run of its own; PNGs are made beside them."""
    index = folder / "index.tsv"
    lines: dict[str, str] = {}
    with ThreadPoolExecutor(1) as beside:
        waiting: list[Future[None]] = []
        for name in names:
            scene = SCENES[name]
            with scene.surroundings() as options:
                async with Gallery.open(folder, scene.free, options) as it:
                    it.wanted_themes, it.wanted_sizes = themes, sizes
                    await scene.play(it)
            lines = dict(_read(index))
            for picture, shown in it.taken.items():
                lines[picture] = f"{picture}\t{name}\t{class_name(shown)}"
            waiting += [beside.submit(_to_png, path) for path in it.files]
            index.write_text("\n".join(lines.values()) + "\n", "utf-8")
            print(f"{name}: {', '.join(it.taken)}", flush=True)
        for done in waiting:
            done.result()
    pictured = {line.split("\t")[2] for line in lines.values()}
    if missing := sorted({class_name(one) for one in screens()} - pictured):
        print(f"No picture shows {', '.join(missing)}.", flush=True)


def _read(index: Path) -> Iterator[tuple[str, str]]:
    if index.exists():
        for line in index.read_text("utf-8").splitlines():
            yield line.split("\t")[0], line


def _to_png(path: Path) -> None:
    subprocess.run(["rsvg-convert", "--output", path.with_suffix(".png"), path], check=True)


def main(argv: list[str]) -> int:
    """Take the pictures of the scenes named, or of all."""
    known = [one.name for one in theme.load_themes()[0]]
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", 1)[0],
        epilog=f"Scenes: {', '.join(name + '+' * scene.fills for name, scene in SCENES.items())}.",
    )
    parser.add_argument("scenes", nargs="*", metavar="SCENE", choices=[*SCENES, []])
    parser.add_argument("--to", type=Path, required=True, metavar="DIR")
    parser.add_argument("--theme", action="append", choices=known, help="only this; may be given again")
    parser.add_argument("--size", action="append", choices=[words(size) for size in SIZES], help="likewise")
    args = parser.parse_args(argv)
    if shutil.which("rsvg-convert") is None:
        print("rsvg-convert is missing: apt-get install librsvg2-bin fonts-dejavu-core", file=sys.stderr)
        return 1
    args.to.mkdir(parents=True, exist_ok=True)
    sizes = args.size or [words(size) for size in SIZES]
    asyncio.run(play(args.scenes or list(SCENES), args.to, args.theme or known, sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
