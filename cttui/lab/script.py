"""A tale as a plain bash script that runs without us: unshare, iptables, conntrack, a few lines of Python."""

import shlex
import textwrap

from cttui.lab import script_parts as parts
from cttui.lab.moves import App, Burst, Commands, Empty, FillTo, Forget, Held, Move, Serve, Setting, Wait
from cttui.lab.predictions import Bound, LimitAnd, Passing
from cttui.lab.readings import (
    Counter,
    Entries,
    Grown,
    Left,
    LogSays,
    Network,
    NewFlows,
    Stat,
    StatsWhileWaiting,
    Told,
    WaitedS,
)
from cttui.lab.tale import Expectation, Step, Tale, stimulus


def script(tale: Tale) -> str:
    """The script. It prints a line for each prediction ("ok" or "FAILED") and exits 0, 3 where one failed,
    or 4 where the machine can't or shouldn't do it ("SKIPPED: why")."""
    body = [
        "export PATH=$PATH:/usr/sbin:/sbin",
        "tmp=$(mktemp -d); trap 'rm -rf \"$tmp\"' EXIT",
        "# iptables-legacy locks a file that only root may write; nobody else is in this namespace.",
        'export XTABLES_LOCKFILE="$tmp/xtables.lock"',
        "limit=$(cat /proc/sys/net/netfilter/nf_conntrack_max)",
        "",
        parts.SETUP + parts.ADDRESSES[tale.family],
        parts.RULES.format(tool="iptables" if tale.family == "ip" else "ip6tables"),
        *([parts.LEGACY] if "iptables-legacy-save" in _saves(tale) else []),
        *_programs(tale),
        *(
            [parts.LOG]
            if any(isinstance(e.reading, LogSays) for step in tale.steps for e in step.expect)
            else []
        ),
        parts.HELPERS.replace("@SAVES@", " ".join(_saves(tale))).replace(
            "@FAMILY@", "ipv4" if tale.family == "ip" else "ipv6"
        ),
    ]
    fills = 0
    for number, step in enumerate(tale.steps, 1):
        body.append(f"# --- Step {number}: {step.caption}")
        body.append(f"echo {shlex.quote(f'{number}. {step.caption}')}")
        for move in step.moves:
            fills += isinstance(move, FillTo)
            if move is not stimulus(step):
                body += _move(move, fills)
            else:  # the check comes before a Wait, in which the collector is meant to come
                body += ["baseline", *_move(move, fills), *_taken(step)]
        body += [_expectation(e, tale) for e in step.expect]
        body.append("")
    body.append("exit $failed")
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            *_comment(f"{tale.name}: {tale.title}", "", *tale.story, "", tale.explanation, ""),
            *_comment(
                "Runs as root or as an ordinary user. Needs bash, util-linux, iproute2, iptables, conntrack and Python 3.8.",
                "Exit status: 0 as predicted, 3 a prediction failed, 4 not possible or not wise here.",
            ),
            "set -euo pipefail",
            "",
            "tale() {",
            "\n".join(body),
            "}",
            *([parts.HEADROOM.strip("\n")] if tale.fills else []),
            *(
                ["", "# One full table on a machine at a time: flock waits until no other sandbox is full."]
                if tale.fills
                else []
            ),
            parts.ENTER.replace("@LOCK@", parts.LOCK if tale.fills else "").lstrip(
                "\n" if tale.fills else ""
            ),
        ]
    )


def _comment(*paragraphs: str) -> list[str]:
    lines: list[str] = []
    for paragraph in paragraphs:
        lines += [f"# {line}".rstrip() for line in textwrap.wrap(paragraph, 100)] or ["#"]
    return lines


def _saves(tale: Tale) -> list[str]:
    """The iptables-save commands whose counters the tale reads."""
    plain = "iptables" if tale.family == "ip" else "ip6tables"
    found = {
        e.reading.backend or plain
        for step in tale.steps
        for e in step.expect
        if isinstance(e.reading, Counter)
    }
    return sorted(f"{tool}-save" for tool in found or {plain})


def _programs(tale: Tale) -> list[str]:
    """The Python programs that its moves need, as files."""
    moves = [move for step in tale.steps for move in step.moves]
    wanted = [
        ("fill.py", parts.FILL, FillTo), ("send.py", parts.SEND, (Burst, Held, App)), ("app.py", parts.APP, App),
        ("hold.py", parts.HOLD, Held), ("listen.py", parts.LISTEN, Serve),
    ]  # fmt: skip
    return [
        f"cat >\"$tmp/{name}\" <<'PYTHON'\n{text.strip()}\nPYTHON\n"
        for name, text, kind in wanted
        if any(isinstance(move, kind) for move in moves)  # type: ignore[arg-type]
    ]


def _send(burst: Burst) -> str:
    gap = f"{1 / burst.rate_pps:g}" if burst.rate_pps else "0"
    words = [
        burst.proto, burst.flags, burst.src, burst.dst, *burst.sports, burst.dport, burst.count, gap,
    ]  # fmt: skip
    return f'python3 "$tmp/send.py" {" ".join(shlex.quote(str(w)) for w in words)}'


SETTLE = "sleep 0.3  # let the last packets and events arrive"


def _free(fill: FillTo) -> str:
    return f"$((limit * {fill.share} / 10000))" if fill.share else str(fill.free)


def _taken(step: Step) -> list[str]:
    """The check whether the garbage collector has made room in the table that the step filled."""
    fills = [move for move in step.moves if isinstance(move, FillTo)]
    if not fills:
        return []
    passed = parts.PASSED if step.undisturbed else "$(new)"
    return [parts.TAKEN.strip().replace("@HELD@", f"limit - {_free(fills[-1])} + {passed}")]


def _move(move: Move, fills: int) -> list[str]:
    match move:
        case Commands(lines, lacks):
            otherwise = f" || {{ echo 'SKIPPED: no {lacks} here'; exit 4; }}" if lacks else ""
            return [line + otherwise for line in lines]
        case FillTo():
            kind = "assured" if move.assured else "plain"
            run = f'python3 "$tmp/fill.py" {_free(move)} {kind} {fills}'
            return [*move.words, f"{run} >/dev/null" if move.assured else f"evictable=$({run})"]
        case Empty():
            return [*move.words, "conntrack -D -w 65535 >/dev/null 2>&1"]
        case Forget():
            return [*move.words, "conntrack -D -w 0 >/dev/null 2>&1"]
        case Burst():
            return [*move.words, _send(move), SETTLE]
        case Held(queue, burst):
            return [
                *move.words,
                f'python3 "$tmp/hold.py" {queue} {burst.count} >"$tmp/holding" & holder=$!',
                'until [ -s "$tmp/holding" ]; do sleep 0.02; done',
                _send(burst),
                'wait $holder; rm "$tmp/holding"',
                SETTLE,
            ]
        case App(how, address, port):
            return [*move.words, f'told=$(python3 "$tmp/app.py" {how} {address} {port})', SETTLE]
        case Serve():
            return [
                *move.words,
                f'python3 "$tmp/listen.py" {move.address} {move.port} {move.backlog} >"$tmp/listening" &',
                'until [ -s "$tmp/listening" ]; do sleep 0.02; done',
            ]
        case Setting():
            return [f"echo {move.value} >/proc/sys/{move.path}"]
        case Wait(gone, seconds):
            until = f"sleep {seconds}"
            if gone:
                left = f"[ $(grown) -gt $(($(new) - {gone})) ] && [ $((SECONDS - started)) -lt {seconds} ]"
                until = f"while {left}; do sleep 1; done"
            return [
                *move.words,
                'conntrack -S >"$tmp/stats_before_waiting"',
                "started=$SECONDS",
                until,
                "waited=$((SECONDS - started)) left=$(grown)",
            ]


def _expectation(e: Expectation, tale: Tale) -> str:
    what = shlex.quote(e.what)
    match e.predicted:
        case Bound(sign, n):
            operator, predicted = "'>='" if sign == "≥" else "'<='", str(n)
        case LimitAnd(plus):
            operator, predicted = "=", f"$((limit + {plus} - $(stat early_drop)))"
        case Passing(count, margin):
            operator = f"'~{count * margin // 100}'"
            predicted = (
                f"$(awk -v e=$evictable -v b=$(cat /proc/sys/net/netfilter/nf_conntrack_buckets) "
                f"'BEGIN {{printf \"%d\", {count} * (1 - exp(-16 * e / b)) + 0.5}}')"
            )
        case plain:
            operator, predicted = "=", str(plain)
    line = f'expect {what} {operator} "{predicted}" "{_measure(e, tale)}"'
    if isinstance(e.reading, LogSays):
        # One that is there is evidence; the kernel writes ten in five seconds, for all namespaces together.
        return f'if [ "$(log_says {shlex.quote(e.reading.words)})" = yes ]; then {line}; fi'
    return line


def _measure(e: Expectation, tale: Tale) -> str:
    match e.reading:
        case Counter(table, chain, rule, backend):
            tool = backend or ("iptables" if tale.family == "ip" else "ip6tables")
            return f"$(counter {tool}-save {table} {chain} {rule})"
        case Stat(name):
            return f"$(stat {name})"
        case NewFlows(state):
            return f"$(new {state})" if state else "$(new)"
        case Grown():
            return "$(grown)"
        case Entries():
            return "$(entries)"
        case Network(name):
            return f"$(network {name})"
        case Told():
            return "$told"
        case LogSays(words):
            return (
                f'$(dmesg | grep -vxF -f "$tmp/dmesg" | grep -q {shlex.quote(words)} && echo yes || echo no)'
            )
        case WaitedS():
            return "$waited"
        case Left():
            return "$left"
        case StatsWhileWaiting():
            return '$(cmp -s <(conntrack -S) "$tmp/stats_before_waiting" && echo none || echo some)'


__all__ = ["Step", "script"]
