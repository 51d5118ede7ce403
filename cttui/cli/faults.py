"""Faults on the command line: one sentence on stderr, one on what to do, an exit code.

Exit codes: 0 done; 1 it can't be done here and now (a fault); 2 wrong usage (argparse's, filters, unknown
names); 3 a tale's prediction failed; 130 interrupted.
"""

import sys

from cttui.model.faults import Fault
from cttui.model.safe import clean

OK, FAULT, USAGE, PREDICTION_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
_USAGE_CODES = frozenset(
    {"usage", "filter", "no-netns", "no-pid", "no-tale", "compose", "config", "no-terminal"}
)


def report(fault: Fault) -> int:
    """Print the fault on stderr; the exit code that goes with it."""
    first, *rest = fault.sentence.split("\n")
    print(f"cttui: {clean(first)}", file=sys.stderr)
    for line in [*rest, *([fault.remedy] if fault.remedy else [])]:
        print(f"       {clean(line)}", file=sys.stderr)
    return USAGE if fault.code in _USAGE_CODES else FAULT
