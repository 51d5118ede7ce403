"""Writes docs/tales.md from the tales' literals: `python tools/make_tales_doc.py [--check]`."""

import sys

from made import ROOT, keep

from cttui.lab.predictions import shown
from cttui.lab.tale import Tale
from cttui.lab.tales import TALES

PAGE = ROOT / "docs" / "tales.md"
HEAD = """\
# Tales

Each tale is an experiment: a set-up, a stimulus, a prediction, a measurement, an explanation. They follow the
article "Conntrack tales – one thousand and one flows" (2020) and go on from there. Every one runs in a sandbox of
its own and changes nothing on the host:

    cttui tale                        # list them
    cttui tale table-full             # run one
    cttui tale table-full --step      # wait before each step
    cttui tale --all --json           # run all but the slow ones
    cttui tale table-full --script    # print it as a bash script

In the dashboard they open with `T`. L is the limit, nf_conntrack_max. A prediction that fails is said in words,
and the exit code is 3; nothing adjusts itself. Entries that the garbage collector took meanwhile are a row of the
result, "reclaimed by gc meanwhile"; where the room they left in a full table made a prediction fail, the step is
repeated from other ports, twice at most, and the result says so. Names ending in `-v6` tell the same over IPv6.

A full table takes 384 bytes of kernel memory an entry. Above 256 MB the tale asks first (`--yes` says yes); without a
terminal it is skipped by name and reason, and so it is on a machine that would feel it: a host whose own table is
above 80 % of the limit, more than eight entries a bucket, more than a tenth of the available memory. Where it is the
limit that is too high, root is offered to lower it for as long as the program runs: old and new value and whom it
concerns are said first, it goes back by itself however the program ends, and `--yes` does not answer this question.

Every tale and every script is a test, run as root and as an ordinary user. `gc-over-95` waits three minutes for the
garbage collector: its tests run with `CTTUI_SLOW=1` set.

Each sandbox begins with the article's rules, for both families:

    iptables -t raw -A PREROUTING -j CT
    iptables -t mangle -A PREROUTING
    iptables -t raw -A OUTPUT -p tcp --sport 80 -j DROP

This page is made from the tales themselves by `tools/make_tales_doc.py`.
"""


def page() -> str:
    """The whole page."""
    contents = ["| tale | in short |", "|---|---|"]
    contents += [f"| [{tale.name}](#{tale.name}) | {_cell(tale.summary)} |" for tale in TALES]
    return "\n\n".join([HEAD.strip(), "\n".join(contents), *map(_chapter, TALES)]) + "\n"


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|")


def _chapter(tale: Tale) -> str:
    notes = [f"Over IPv6: `{tale.name}-v6`."] if tale.has_twin else []
    notes += ["Slow: `--all` leaves it out without `--slow`."] if tale.slow else []
    title = tale.title if tale.title.endswith("?") else f"{tale.title}."
    parts = [f"## {tale.name}", f"**{title}** {tale.summary} {' '.join(notes)}".strip(), *tale.story]
    for number, step in enumerate(tale.steps, 1):
        # Two spaces after the number: then four begin what belongs to it, for every reader of Markdown.
        parts.append(f"{number}.  {step.caption}")
        parts.append("\n".join(f"        {line}" for move in step.moves for line in move.words))
        table = ["    | what | predicted | read from |", "    |---|---|---|"]
        table += [
            f"    | {_cell(e.what)} | {_cell(shown(e.predicted))} | `{_cell(e.reading.source)}` |"
            for e in step.expect
        ]
        parts.append("\n".join(table))
    since = tale.since_2020[:1].upper() + tale.since_2020[1:]
    return "\n\n".join(
        [*parts, tale.explanation, f"*In production.* {tale.production}", f"*Since 2020.* {since}"]
    )


def main(argv: list[str]) -> int:
    """0 if the page is right or was written."""
    return keep({PAGE: page()}, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
