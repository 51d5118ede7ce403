"""Who may import whom, and what the first frame has not imported yet."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

_FIRST_FRAME = """
import asyncio, os, sys
os.environ["TEXTUAL_ANIMATIONS"] = "none"
from cttui.client.options import Options
from cttui.client.targets import Target
from cttui.ui.session import Session

async def main():
    session = Session(Options(target=Target("sandbox", "SANDBOX"), remember=False))
    from cttui.ui.program import Program
    app = Program(session.options, session)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        print(" ".join(sorted(sys.modules)))

asyncio.run(main())
"""


def _modules(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def first_frame() -> set[str]:
    """Modules that are loaded when the dashboard has painted itself once."""
    return _modules(_FIRST_FRAME)


@pytest.mark.parametrize(
    "heavy",
    ["numpy", "scapy", "pyroute2", "pyperclip", "cttui.lab", "cttui.probe", "cttui.kernel", "cttui.flows"],
)
def test_the_first_frame_does_without(first_frame: set[str], heavy: str) -> None:
    assert "cttui.ui.dashboard" in first_frame
    assert not [m for m in first_frame if m == heavy or m.startswith(heavy + ".")]


def test_the_command_line_starts_without_textual() -> None:
    loaded = _modules("import sys, cttui.cli.main; print(*sys.modules)")
    assert not {"textual", "numpy", "scapy", "pyroute2", "rich"} & loaded


def test_contracts() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
