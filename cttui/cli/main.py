"""The command line: arguments → target and command → exit code."""

import argparse
import os
import sys

from cttui.cli import faults
from cttui.cli.parser import build_parser
from cttui.client import targets
from cttui.client.targets import Target
from cttui.model.as_root import as_root
from cttui.model.faults import Fault, FaultError


def _check(args: argparse.Namespace) -> None:
    """What argparse does not see: options before a command that contradict it."""
    if args.sandbox + (args.netns is not None) + (args.pid is not None) > 1:
        raise FaultError("usage", "One target only: --sandbox, --netns or --pid.")
    if args.free is not None and args.free < 0:
        raise FaultError("usage", f"--free {args.free} is below 0.")
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
        case "events":
            from cttui.cli import events

            events.run(_target(args), " ".join(args.filter), args.type, args.count, args.seconds, args.output)
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
            Fault("no-privilege", f"{e.filename}: {e.strerror}.", f"Run as root: {as_root()} …")
        )
    except OSError as e:
        return faults.report(Fault("os", f"{e.filename or 'The system said'}: {e.strerror}."))
