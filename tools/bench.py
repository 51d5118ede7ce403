"""`make bench`: every measurement that the project promises, as JSON lines. Parts by name, default all."""

import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parent
PARTS = {
    "app": "bench_app.py",
    "ct": "bench_ct.py",
    "events": "bench_events.py",
    "query": "bench_query.py",
    "inject": "bench_inject.py",
    "hooks": "bench_hooks.py",
    "packets": "bench_packets.py",
    "packets-ui": "bench_packets_ui.py",
    "bytes": "bench_ui_bytes.py",
}


def main(names: list[str]) -> int:
    """Run the parts one after another; how many failed."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"No part {', '.join(unknown)}; there are {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    failed = 0
    for name in names or PARTS:
        failed += subprocess.run([sys.executable, str(TOOLS / PARTS[name])], check=False).returncode != 0
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
