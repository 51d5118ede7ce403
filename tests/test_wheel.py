"""The program as people install it: a wheel in a fresh environment, run from another folder."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]  # one build, one environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)],
        capture_output=True, text=True, timeout=170, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("cttui-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with nothing of ours but the wheel; the libraries are lent by this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps", str(wheel)],
        check=True, timeout=120, cwd="/",
    )  # fmt: skip
    (packages,) = folder.glob("lib/python*/site-packages")
    # Path files inside a lent folder are not read, so an editable installation there stays out.
    packages.joinpath("lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    where = run(python, "-c", "import cttui; print(cttui.__file__)", cwd=Path("/"))
    assert where.startswith(str(packages)), where
    return folder / "bin"


@pytest.fixture
def decoy(tmp_path: Path) -> Path:
    """A folder with a package of our name in it that must never be imported."""
    for name in ("cttui", "cttui/probe", "cttui/cli"):
        package = tmp_path / name
        package.mkdir()
        package.joinpath("__init__.py").write_text("raise SystemExit('the wrong cttui was imported')\n")
    return tmp_path


def run(*argv: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed; nothing of this environment leaks in."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, timeout=120, cwd=cwd, env=clean
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_what_is_needed_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    themes = {f"cttui/themes/{path.name}" for path in (ROOT / "themes").glob("*.toml")}
    assert themes and themes <= set(names)
    assert any(name.endswith(".tcss") for name in names)
    assert {name.split("/")[0] for name in names} == {"cttui", names[-1].split("/")[0]}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_it_runs_from_any_folder(installed: Path, decoy: Path) -> None:
    program = installed / "cttui"
    assert run(program, "--version", cwd=decoy).startswith("cttui ")
    assert "exit codes:" in run(program, "--help", cwd=decoy)
    reading = json.loads(run(program, "snapshot", "--sandbox", "--json", cwd=decoy))
    assert (reading["target"], reading["count"]) == ("sandbox", 0)
    assert "As predicted: all" in run(program, "tale", "ten-syns", cwd=decoy)


def test_its_themes_are_found(installed: Path, decoy: Path) -> None:
    code = """
from cttui.ui import theme
themes, problems = theme.load_themes()
assert not problems, problems
print(theme.__file__)
print(*sorted(t.name for t in themes))
"""
    where, names = run(installed / "python", "-P", "-c", code, cwd=decoy).splitlines()
    assert where.startswith(str(installed.parent))
    assert names.split() == sorted(path.stem for path in (ROOT / "themes").glob("*.toml"))
