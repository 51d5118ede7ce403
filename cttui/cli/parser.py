"""The command line's grammar: every command and option. The man page and the completions are made from it."""

import argparse
import textwrap
from pathlib import Path
from typing import Any, NoReturn

from cttui import __version__
from cttui.model.faults import FaultError

DESCRIPTION = (
    "The live dashboard of Linux connection tracking: what conntrack holds, what each hook counted, "
    "which packets passed, and where a packet died and why."
)
EXAMPLES = """\
examples:
  cttui                            the host if you may see it, else the sandbox
  cttui --sandbox --free 7         a sandbox whose table has 7 free slots
  cttui --netns blue --read-only   another namespace, with every write refused
  cttui snapshot --json            one reading, for scripts
  cttui flows 'dport=443 state=SYN_SENT' --sort timeout --limit 20
  cttui events dport=443           what happens to the table, line by line
  cttui tale table-full            the article's experiment as text

exit codes: 0 done, 1 it can't be done here, 2 wrong usage,
            3 a prediction failed, 130 interrupted
"""


COMMAND_EXAMPLES: dict[str, tuple[str, ...]] = {
    "snapshot": (
        "cttui snapshot --json | jq '.count, .max, .stats.drop'",
        "cttui snapshot --netns blue",
    ),
    "flows": (
        "cttui flows 'dport=443 state=SYN_SENT' --sort timeout --limit 20",
        "cttui flows unreplied --output conntrack",
        "cttui flows -- -p tcp --dport 443",
    ),
    "events": (
        "cttui events dport=443 --type new,destroy",
        "cttui events --output json --seconds 60 | jq -c '[.event, .src, .dst]'",
    ),
    "tale": (
        "cttui tale ten-syns table-full",
        "cttui tale table-full --step",
        "cttui tale table-full --script > table-full.sh",
        "cttui tale --all --json",
    ),
    "packets": (
        "cttui packets capture.pcapng dport=443 not src=10.0.0.0/8 --delta",
        "tcpdump -c 1000 -w - | cttui packets - dport=443",
    ),
    "completion": ("cttui completion bash > ~/.local/share/bash-completion/completions/cttui",),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        remedy = f"`{self.prog} --help` shows what it takes."
        if message.startswith("unrecognized arguments: -"):
            remedy = f"{remedy} A filter that begins with - stands after --: cttui flows -- -p tcp"
        raise FaultError("usage", f"{message}.", remedy)


class _Command(_Parser):
    """A command whose options may stand anywhere among its words: `cttui packets FILE --delta dport=80`."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._inside:  # parse_known_intermixed_args is made of two calls of this
            return super().parse_known_args(args, namespace)
        words, literal = list(args), []
        if "--" in words and self._rest:  # which it would drop, and read what follows as options
            at = words.index("--")
            words, literal = words[:at], words[at + 1 :]
        self._inside = True
        try:
            found, unknown = self.parse_known_intermixed_args(words, namespace)
        finally:
            self._inside = False
        if literal:
            setattr(found, self._rest, [*getattr(found, self._rest), *literal])
        return found, unknown

    @property
    def _rest(self) -> str:
        """The name of the words that may be any number, "" where there are none."""
        return next((a.dest for a in self._actions if not a.option_strings and a.nargs == "*"), "")


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "filter", nargs="*", metavar="FILTER", help="as in the dashboard: dport=443 state=SYN_SENT …"
    )


def _add_target(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """`again`: the options of a command, whose absence must not wipe out those before it."""
    absent: dict[str, Any] = {"default": argparse.SUPPRESS} if again else {}
    group = parser.add_argument_group("target (default: this network namespace)")
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--sandbox",
        action="store_true",
        help="a network namespace of its own where anything may be tried",
        **absent,
    )
    one.add_argument(
        "--netns", metavar="NAME|PATH", help="a network namespace by name (ip netns) or path", **absent
    )
    one.add_argument("--pid", type=int, metavar="PID", help="the network namespace of a process", **absent)


def build_parser() -> argparse.ArgumentParser:
    """Every command and option; the man page and the completions are made from it."""
    parser = _Parser(
        prog="cttui",
        description=textwrap.fill(DESCRIPTION, 80),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cttui {__version__}")
    _add_target(parser)
    ui = parser.add_argument_group("dashboard")
    ui.add_argument("--free", type=int, metavar="N", help="sandbox: fill the table until N slots are left")
    ui.add_argument(
        "--read-only",
        action="store_true",
        default=None,
        help="refuse everything that changes something on a host",
    )
    ui.add_argument(
        "--theme",
        metavar="NAME",
        help="colours: auto, dark, light, high-contrast, colour-blind, ansi16, paper, or a theme of your own",
    )
    ui.add_argument("--hz", type=float, metavar="N", help="readings a second, 0.1 to 4 (default 1)")
    ui.add_argument(
        "--low-bandwidth", action="store_true", default=None, help="halve what goes to the terminal"
    )
    ui.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")
    ui.add_argument("--tale", metavar="NAME", help="open on an experiment (`cttui tale` lists them)")
    ui.add_argument("--present", action="store_true", help="presenter mode: big digits, keys shown")
    ui.add_argument("--config", type=Path, metavar="FILE", help="another configuration file")
    ui.add_argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="any setting of that file, e.g. flows.sort=bytes (may be repeated)",
    )
    ui.add_argument("--record", type=Path, metavar="FILE", help="write every reading to a file")
    ui.add_argument("--replay", type=Path, metavar="FILE", help="show a recording; nothing is started")

    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Command)

    def command(name: str, help: str) -> argparse.ArgumentParser:
        examples = "".join(f"  {line}\n" for line in COMMAND_EXAMPLES.get(name, ()))
        made: argparse.ArgumentParser = commands.add_parser(
            name,
            help=help,
            description=f"{help[:1].upper()}{help[1:]}.",
            epilog=examples and f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        return made

    snapshot = command("snapshot", "one reading of a target, no terminal needed")
    _add_target(snapshot, again=True)
    snapshot.add_argument("--json", action="store_true", help="as one JSON object")

    flows = command("flows", "the conntrack table as text")
    _add_target(flows, again=True)
    _add_filter(flows)
    flows.add_argument(
        "--sort", default="newest", metavar="KEY", help="newest (the default), timeout, bytes, age, src, …"
    )
    flows.add_argument("--ascending", action="store_true", help="smallest or oldest first")
    flows.add_argument("--limit", type=int, metavar="N", help="at most N flows")
    flows.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "conntrack"),
        default="table",
        help="for people, for jq, or as conntrack -L -o extended,id prints it",
    )
    flows.add_argument(
        "--fillers", action="store_true", help="also the entries that only fill a sandbox's table"
    )

    events = command("events", "what happens to the table, a line an event, until interrupted")
    _add_target(events, again=True)
    _add_filter(events)
    events.add_argument(
        "--type", default="new,update,destroy", metavar="TYPES", help="of these: new, update, destroy"
    )
    events.add_argument("--count", type=int, metavar="N", help="end after N events")
    events.add_argument("--seconds", type=float, metavar="S", help="end after so long")
    events.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "conntrack"),
        default="table",
        help="for people, a JSON object a line, or as conntrack -E -o timestamp,id prints it",
    )

    tale = command("tale", "run experiments and compare predicted with measured")
    tale.add_argument("names", nargs="*", metavar="NAME", help="none: list them")
    tale.add_argument("--all", action="store_true", help="every tale but the slow ones")
    tale.add_argument("--slow", action="store_true", help="with --all: the slow ones too")
    tale.add_argument("--json", action="store_true", help="a list of results")
    tale.add_argument("--step", action="store_true", help="wait for Enter before each step")
    tale.add_argument(
        "--yes", action="store_true", help="fill the table without asking, also where it takes over 256 MB"
    )
    tale.add_argument("--script", action="store_true", help="print the tale as a bash script instead")

    packets = command("packets", "open a pcap or pcapng file as a log")
    packets.add_argument("file", metavar="FILE", help="a pcap or pcapng file; - is standard input")
    packets.add_argument(
        "filter", nargs="*", default=[], metavar="FILTER", help="only such packets: dport=443 not tcp …"
    )
    packets.add_argument("--delta", action="store_true", help="times as differences")

    config = command("config", "the configuration file")
    config.add_argument("--sample", action="store_true", help="print a commented sample")

    completion = command("completion", "completion for a shell, to be sourced or installed")
    completion.add_argument(
        "shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish"
    )

    command("tour", "the full-table tale in five screens, with you")
    return parser
