"""The command we tell people to type exists, also where sudo would not find `cttui`."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cttui.model import as_root


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    as_root.as_root.cache_clear()
    yield
    as_root.as_root.cache_clear()


def _program(folder: Path) -> Path:
    folder.mkdir(parents=True)
    program = folder / "cttui"
    program.write_text("#!/bin/sh\necho started\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("installed", "on_path", "said"),
    [
        pytest.param("usr/bin", True, "sudo cttui", id="where sudo looks"),
        pytest.param("home/.local/bin", True, "sudo ~/.local/bin/cttui", id="pipx"),
        pytest.param("home/my tools;x/bin", True, "sudo ~/'my tools;x/bin/cttui'", id="odd folder at home"),
        pytest.param("my tools/bin", True, "sudo '{root}/my tools/bin/cttui'", id="odd folder"),
        pytest.param("clone/.venv/bin", False, "sudo {root}/clone/.venv/bin/cttui", id="make run"),
    ],
)
def test_the_command_exists(
    installed: str, on_path: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = _program(tmp_path / installed)
    monkeypatch.setattr(as_root, "SECURE_PATH", str(tmp_path / "usr/bin"))
    monkeypatch.setattr(
        sys, "executable", str(program.with_name("python") if not on_path else "/nowhere/python")
    )
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin" if on_path else "/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    command = as_root.as_root()
    assert command == said.format(root=tmp_path)
    typed = command.removeprefix("sudo ")
    assert subprocess.run(["sh", "-c", typed], capture_output=True, text=True).stdout == "started\n"


def test_without_an_installed_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(as_root, "SECURE_PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert as_root.as_root() == f"sudo {tmp_path}/python -m cttui"
