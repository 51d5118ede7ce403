"""The documentation: links and pictures exist, commands are right, generated pages are what they are made from."""

import argparse
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packet_samples import SEEDS, row

from cttui.cli.parser import COMMAND_EXAMPLES, build_parser
from cttui.lab.tales import ALL
from cttui.model import filters
from cttui.model.faults import FaultError
from cttui.model.pcapng import write_pcapng
from cttui.ui import actions

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
GENERATORS = ("make_keys", "make_tales_doc", "make_settings", "make_man", "make_completion", "make_files")
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def _anchors(page: Path) -> set[str]:
    """Anchors as Python-Markdown's toc makes them."""
    out = set()
    for heading in re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text("utf-8")), re.M):
        plain = re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", heading)).strip().lower()
        out.add(re.sub(r"[-\s]+", "-", plain))
    return out


def _links(page: Path) -> list[str]:
    text = _FENCE.sub("", page.read_text("utf-8"))
    return [m for m in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in m]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(ROOT), f"{page.name}: {link} leads out of the project"
        assert target.exists(), f"{page.name}: {link} does not exist"
        if anchor:
            assert anchor in _anchors(target), f"{page.name}: {link}: no such heading"


def test_what_belongs_to_a_list_is_indented_by_four() -> None:
    """Three are enough for a repository's viewer; Python-Markdown, which makes the site, ends the list there."""
    for page in PAGES:
        assert not re.findall(r"\n\n {1,3}\S.*", _FENCE.sub("", page.read_text("utf-8"))), page.name


def test_every_page_is_reached_from_the_site_and_its_index() -> None:
    site = (ROOT / "mkdocs.yml").read_text("utf-8")
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f" {page.name}\n" in site, f"{page.name} is not in mkdocs.yml"
        assert page.name == "index.md" or f"({page.name})" in index, f"{page.name} is not in index.md"


def _commands(page: Path) -> list[str]:
    """`cttui …` in code: indented lines, and inline."""
    text = page.read_text("utf-8")
    found = re.findall(r"^    (?:[a-z]+=\S+ )?(?:sudo (?:--\S+ )?)?(cttui\b.*)$", text, re.M)
    found += re.findall(r"`(?:sudo )?(cttui [^`]+)`", text)
    out = []
    for line in found:
        line = re.split(r"\s#\s|\s[|>]\s|\s&&\s", line)[0]
        line = re.split(r"\s{3,}", line)[0].strip()
        out.append(line)
    return out


def test_every_command_in_the_docs_is_understood() -> None:
    shown = [(page.name, command) for page in PAGES for command in _commands(page)]
    for name, lines in COMMAND_EXAMPLES.items():
        shown += [(f"{name} --help", re.split(r" [|>] ", line)[0]) for line in lines if line[:5] == "cttui"]
    seen = 0
    for where, command in shown:
        words = ["4711" if word == "PID" or "$(" in word else word for word in shlex.split(command)[1:]]
        if "COMMAND" in words or words[:1] == ["--help"] or any("…" in word for word in words):
            continue
        try:
            args = build_parser().parse_args(words)
        except FaultError as e:
            pytest.fail(f"{where}: `{command}`: {e.fault.sentence}")
        seen += 1
        for name in getattr(args, "names", None) or ():
            assert name == "NAME" or name in {t.name for t in ALL}, f"{where}: `{command}`"
        if getattr(args, "filter", None) and args.filter != ["FILTER"]:
            filters.parse(" ".join(args.filter))
    assert seen > 40


def _lines_that_run() -> list[str]:
    """Whole lines of the docs, pipes and redirections included, that need neither a terminal nor a full table."""
    words = r"(?:snapshot|flows|packets|config|completion|tale \S+ --script|tale$)"
    out: dict[str, None] = {}
    for page in PAGES:
        for line in re.findall(r"^    (cttui .+|mkdir .+|install -D .+)$", page.read_text("utf-8"), re.M):
            line = re.split(r"\s+# ", line)[0].strip()
            if re.match(rf"cttui {words}", line) or not line.startswith("cttui"):
                out[line] = None
    return list(out)


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_commands_of_the_docs_run(tmp_path: Path) -> None:
    """Each in a network namespace of its own, which answers to the names that the docs give theirs."""
    program = tmp_path / "bin" / "cttui"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m cttui "$@"\n')
    program.chmod(0o755)
    with (tmp_path / "capture.pcapng").open("wb") as stream:
        write_pcapng(stream, [row(*SEEDS[0])])
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{program.parent}:{os.environ['PATH']}"}

    def run(line: str) -> str:
        here = line.replace("--netns blue", "--netns /proc/self/ns/net")
        done = subprocess.run(
            ["unshare", "--net", "bash", "-euo", "pipefail", "-c", f"ip link set lo up; {here}"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if done.returncode or done.stderr:
            return f"`{line}`: {done.returncode}: {done.stderr}"
        file = re.search(r" > ~?/?(\S+)$", line)
        if file and not (tmp_path / file[1]).stat().st_size:
            return f"`{line}`: {file[1]} is empty"
        return ""

    lines = [line for line in _lines_that_run() if " jq " not in line or shutil.which("jq")]
    folders = [line for line in lines if line.startswith("mkdir")]
    with ThreadPoolExecutor(4) as pool:
        problems = [*map(run, folders), *pool.map(run, [line for line in lines if line not in folders])]
    assert not [problem for problem in problems if problem]
    assert len(lines) > 15


def test_every_option_of_the_program_is_in_the_docs() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES) + (ROOT / "docs" / "cttui.1").read_text(
        "utf-8"
    )
    for option in _options(build_parser()):
        assert option in text or option.replace("-", r"\-") in text, option


def _options(parser: argparse.ArgumentParser) -> list[str]:
    out: list[str] = []
    for action in parser._actions:
        out += [o for o in action.option_strings if o.startswith("--")]
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                out += _options(child)
    return out


@pytest.mark.parametrize("name", GENERATORS)
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert importlib.import_module(name).main(["--check"]) == 0, f"run tools/{name}.py"


def test_filters_in_the_docs_are_right() -> None:
    seen = 0
    for page in PAGES:
        for block in re.findall(r"^```filter\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S):
            for line in block.splitlines():
                filters.parse(line.partition("  #")[0].strip())
                seen += 1
    assert seen > 20


def test_action_ids_in_the_docs_exist() -> None:
    for page in PAGES:
        for block in re.findall(r"^\[keys\]\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S):
            for line in block.splitlines():
                assert line.split(" = ")[0] in actions.BY_ID, f"{page.name}: {line}"


def test_statistics_and_settings_named_in_the_docs_exist() -> None:
    from cttui.model.table import STATISTICS
    from cttui.model.tunables import TUNABLES

    security = (ROOT / "docs" / "security.md").read_text("utf-8")
    section = security.partition("### Settings that can be changed")[2].partition("###")[0]
    assert set(re.findall(r"`(nf_conntrack_\w+)`", section)) == set(TUNABLES)
    diagnosis = (ROOT / "docs" / "diagnosis.md").read_text("utf-8")
    table = diagnosis.partition("| moves | means |")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.M)) <= set(STATISTICS)


def test_addresses_in_the_docs_are_for_documentation() -> None:
    """RFC 5737, RFC 3849, RFC 2544, private, loopback, and masks: nobody's address is written down."""
    allowed = re.compile(
        r"^(192\.0\.2\.|198\.51\.100\.|203\.0\.113\.|198\.1[89]\.|10\.|127\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|255\.|0\.0\.0\.0)"
    )
    for page in PAGES:
        for address in re.findall(
            r"(?<![\w.])(\d{1,3}(?:\.\d{1,3}){3})(?![\w.]*\d)", page.read_text("utf-8")
        ):
            assert allowed.match(address), f"{page.name}: {address}"


def test_pictures_are_whole() -> None:
    pictures = sorted((ROOT / "screenshots").glob("*.svg"))
    assert pictures
    for picture in pictures:
        text = picture.read_text("utf-8")
        assert text.startswith("<svg ") and text.endswith("</svg>\n")
        assert not re.search(r"url\(|href=|@import|@font-face", text), f"{picture.name} asks for something"
        assert "<text" in text
    for picture in (ROOT / "screenshots").glob("*.png"):
        assert picture.with_suffix(".svg").exists(), f"{picture.name} is of no run any more"
