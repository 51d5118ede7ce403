"""Dispatch: one program, two columns. Only this module sees both."""

import sys


def main() -> int:
    """`cttui …`: the command line, or, as a child of our own, the probe or one of its helpers."""
    which = sys.argv[1] if len(sys.argv) > 1 else ""
    if which == "probe":
        from cttui.probe.server import main as probe

        return probe(sys.argv[2:])
    if which == "probe-injector":
        from cttui.probe.injector import main as injector

        return injector(sys.argv[2:])
    if which == "probe-warden":
        from cttui.probe.warden import main as warden

        return warden(sys.argv[2:])
    try:
        from cttui.cli.main import main as cli
    except KeyboardInterrupt:  # later ones are the command line's
        return 130
    return cli(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
