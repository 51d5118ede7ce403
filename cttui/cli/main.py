"""The command line: arguments → target and command → exit code."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from cttui import __version__
from cttui.cli import faults
from cttui.client import targets
from cttui.client.targets import Target
from cttui.model.messages import Fault, FaultError

EXAMPLES = """\
examples:
  cttui                            the dashboard: the host if you may see it, otherwise the sandbox
  cttui --sandbox --free 7         a sandbox whose table has 7 free slots
  cttui --netns blue --read-only   another namespace, with every write refused
  cttui snapshot --json            one reading, for scripts
  cttui flows 'dport=443 state=SYN_SENT' --sort timeout --limit 20
  cttui tale table-full            the article's experiment as text

exit codes: 0 done, 1 it can't be done here, 2 wrong usage, 3 a prediction failed, 130 interrupted
"""


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
        description="The live dashboard of Linux connection tracking: what conntrack holds, what each hook "
        "counted, which packets passed, and where a packet died and why.",
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
    ui.add_argument("--theme", metavar="NAME", help="colours: dark, light, … (see docs/themes.md)")
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
    snapshot = commands.add_parser("snapshot", help="one reading of a target, no terminal needed")
    _add_target(snapshot, again=True)
    snapshot.add_argument("--json", action="store_true", help="as one JSON object")

    flows = commands.add_parser("flows", help="the conntrack table as text")
    _add_target(flows, again=True)
    flows.add_argument(
        "filter", nargs="*", metavar="FILTER", help="as in the dashboard: dport=443 state=SYN_SENT …"
    )
    flows.add_argument("--sort", default="newest", metavar="KEY", help="a column (default: newest)")
    flows.add_argument("--ascending", action="store_true", help="smallest or oldest first")
    flows.add_argument("--limit", type=int, metavar="N", help="at most N flows")
    flows.add_argument("--output", choices=("table", "json", "conntrack"), default="table")
    flows.add_argument(
        "--fillers", action="store_true", help="also the entries that only fill a sandbox's table"
    )

    tale = commands.add_parser("tale", help="run experiments and compare predicted with measured")
    tale.add_argument("names", nargs="*", metavar="NAME", help="none: list them")
    tale.add_argument("--all", action="store_true", help="every tale but the slow ones")
    tale.add_argument("--slow", action="store_true", help="with --all: the slow ones too")
    tale.add_argument("--json", action="store_true", help="a list of results")
    tale.add_argument("--step", action="store_true", help="wait for Enter before each step")
    tale.add_argument(
        "--yes", action="store_true", help="fill the table without asking, also where it takes over 256 MB"
    )
    tale.add_argument("--script", action="store_true", help="print the tale as a bash script instead")

    packets = commands.add_parser("packets", help="open a pcap or pcapng file as a log")
    packets.add_argument("file", metavar="FILE", help="a pcap or pcapng file; - is standard input")
    packets.add_argument(
        "filter", nargs="*", default=[], metavar="FILTER", help="only such packets: dport=443 not tcp …"
    )
    packets.add_argument("--delta", action="store_true", help="times as differences")

    config = commands.add_parser("config", help="the configuration file")
    config.add_argument("--sample", action="store_true", help="print a commented sample")

    completion = commands.add_parser("completion", help="completion for a shell, to be sourced or installed")
    completion.add_argument(
        "shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish"
    )

    commands.add_parser("tour", help="the full-table tale in five screens, with you")
    return parser


def _check(args: argparse.Namespace) -> None:
    """What argparse does not see: options before a command that contradict it."""
    if args.sandbox + (args.netns is not None) + (args.pid is not None) > 1:
        raise FaultError("usage", "One target only: --sandbox, --netns or --pid.")
    if args.command not in (None, "tour"):
        for name in ("free", "tale", "record", "replay", "set"):
            if getattr(args, name) is not None:
                raise FaultError(
                    "usage", f"--{name} belongs to the dashboard, not to `cttui {args.command}`."
                )


def _target(args: argparse.Namespace) -> Target:
    if args.sandbox:
        return targets.sandbox()
    return targets.host(args.netns, args.pid)


def _refuse_other_systems() -> None:
    if sys.platform != "linux":
        raise FaultError(
            "not-linux",
            f"cttui shows the Linux kernel's connection tracking; this is {sys.platform}.",
            "Run it on the Linux machine: ssh -t HOST cttui",
        )


def _dashboard(args: argparse.Namespace) -> int:
    # The configuration first: a slip in it is named before the screen changes.
    from cttui.client.config import load, override
    from cttui.client.options import Options

    config = override(load(args.config), args.set or ())
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise FaultError(
            "no-terminal",
            "The dashboard needs a terminal, and this is none.",
            "`cttui snapshot --json` gives one reading, `cttui tale table-full` an experiment as text.",
        )
    if args.replay and not args.replay.is_file():
        raise FaultError("usage", f"There is no recording {args.replay}.")
    hz = args.hz if args.hz is not None else float(config["rate_hz"])
    if not 0.1 <= hz <= 4:
        raise FaultError("usage", f"--hz {hz:g} is out of range.", "From 0.1 to 4 readings a second.")
    free = args.free if args.free is not None else int(config["free"])
    wants = str(config["target"])
    named = args.netns is not None or args.pid is not None
    tour = args.command == "tour"
    if args.tale is not None:
        if named:
            raise FaultError("usage", "--tale runs in a sandbox, never in a host's namespace.")
        from cttui.lab.tales import find

        find(args.tale)
    privileged = os.geteuid() == 0
    box = (
        tour
        or args.tale is not None
        or args.sandbox
        or (not named and (wants == "sandbox" or (wants == "auto" and not privileged)))
    )
    if args.free is not None and not box:
        if named or wants == "host":
            raise FaultError("usage", "--free fills a sandbox's table, never a host's.", "Add --sandbox.")
        box = True
    first = targets.sandbox() if box else targets.host(args.netns, args.pid)
    other = targets.host() if box else targets.sandbox()
    options = Options(
        target=first,
        other_target=other,
        theme=args.theme or "auto",
        hz=hz,
        low_bandwidth=bool(args.low_bandwidth or config["low_bandwidth"]),
        mouse=bool(config["mouse"]) and not args.no_mouse,
        free=free if box and free >= 0 else None,
        read_only=bool(args.read_only or config["read_only"]),
        unfocused=str(config["unfocused"]),
        config=config,
        record=args.record,
        replay=args.replay,
        tour=tour,
        tale=args.tale or "",
        present=args.present,
    )
    from cttui.ui.app import run

    return run(options)


def _command(args: argparse.Namespace) -> int:
    match args.command:
        case "snapshot":
            from cttui.cli import snapshot

            snapshot.run(_target(args), args.json)
        case "flows":
            from cttui.cli import flows

            flows.run(
                _target(args),
                " ".join(args.filter),
                args.sort,
                not args.ascending,
                args.limit,
                args.output,
                args.fillers,
            )
        case "tale":
            from cttui.cli import tale

            return tale.run(
                args.names,
                every=args.all,
                slow=args.slow,
                as_json=args.json,
                step=args.step,
                script=args.script,
                yes=args.yes,
            )
        case "packets":
            from cttui.cli import packets

            packets.run(args.file, " ".join(args.filter), delta=args.delta)
        case "config":
            from cttui.client.config import folder, sample

            print(sample() if args.sample else folder() / "config.toml")
        case "completion":
            from cttui.cli import completion

            completion.run(args.shell)
        case _:
            return _dashboard(args)
    return faults.OK


def main(argv: list[str]) -> int:
    """Run the command line; the exit code. A fault is a sentence on stderr, never a traceback."""
    try:
        args = build_parser().parse_args(argv)
        _check(args)
        _refuse_other_systems()
        return _command(args)
    except FaultError as e:
        return faults.report(e.fault)
    except KeyboardInterrupt:
        return faults.INTERRUPTED
    except BrokenPipeError:
        # `cttui flows | head`: nobody reads any more. Keep the interpreter from saying so at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return faults.OK
    except PermissionError as e:
        return faults.report(
            Fault("no-privilege", f"{e.filename}: {e.strerror}.", "Run as root: sudo cttui …")
        )
    except OSError as e:
        return faults.report(Fault("os", f"{e.filename or 'The system said'}: {e.strerror}."))
