"""The dashboard on a recording as pictures: three sizes, four themes, compared line by line.

A change that is meant is accepted by `CTTUI_ACCEPT=1 python -m pytest tests/ui/test_pictures.py`; then look at the
files in tests/data/pictures, which any browser shows.
"""

import difflib
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cttui.ui import pasts
from cttui.ui.widgets import flow_table

Play = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "data" / "pictures"
SIZES = [(80, 24), (120, 40), (200, 60)]
THEMES = ["dark", "light", "high-contrast", "ansi16"]
ACCEPT = os.environ.get("CTTUI_ACCEPT", "") not in ("", "0")


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class _Still:
    """A clock that stands: markers of new flows and times of day depend on it."""

    monotonic = staticmethod(lambda: 1000.0)
    time = staticmethod(lambda: 1.7e9)


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(flow_table, "time", _Still)
    monkeypatch.setattr(pasts, "time", _Still)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("theme", THEMES)
async def test_full_table(play: Play, theme: str, size: tuple[int, int], tmp_path: Path) -> None:
    async with play("full", size, theme=theme, free=7) as d:
        await d.until("7 free")
        await d.press("b")
        await d.until(lambda: d.app.session.link._at == len(d.app.session.link._steps))
        await d.until("drop +3")
        d.app.clear_notifications()
        await d.pilot.pause(0.1)
        pictures = _tool("screen_svg")
        drawn = pictures.still(pictures.frame(d.app), "cttui")
    name = f"full-{theme}-{size[0]}x{size[1]}.svg"
    kept = FOLDER / name
    if ACCEPT:
        FOLDER.mkdir(exist_ok=True)
        kept.write_text(drawn, encoding="utf-8")
    if drawn != (before := kept.read_text(encoding="utf-8")):
        (tmp_path / name).write_text(drawn, encoding="utf-8")
        lines = list(difflib.unified_diff(before.splitlines(), drawn.splitlines(), lineterm="", n=0))
        pytest.fail(f"{tmp_path / name} is not {kept}:\n" + "\n".join(line[:300] for line in lines[:30]))
