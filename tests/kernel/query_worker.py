"""Runs inside a test's namespace: answers questions about the conntrack table there, JSON in, JSON out.

python query_worker.py lines            what conntrack -L prints, and what we print
python query_worker.py filters < LIST   for each filter: what the kernel, we and the definition select
python query_worker.py traffic          make flows by real packets (NAT, helper, IPv6)
python query_worker.py deletes          the conntrack -D command of every flow
python query_worker.py timeouts         the setting that we say gave each flow its timeout, and the timeout
"""

import json
import socket
import subprocess
import sys
import time

import numpy as np

from cttui.flows.columns import Interned
from cttui.flows.select import select
from cttui.flows.store import Store
from cttui.kernel import ctnetlink
from cttui.kernel.ctfilter import kernel_family, kernel_filter
from cttui.model import words
from cttui.model.filters import matches, parse, unparse


def read(attributes: bytes = b"", family: int = 0) -> Store:
    """A dump of the table, as the kernel filters it."""
    store = Store(Interned())
    dump = ctnetlink.Dump(ctnetlink.Decoder(store.interned), filter=attributes, family=family)
    store.begin_dump()
    dump.start()
    while (batches := dump.step()) is not None:
        store.put_dump(batches, 0.0)
    dump.close()
    store.end_dump(0.0)
    return store


def conntrack() -> list[str]:
    command = ["conntrack", "-L", "-o", "extended,id"]
    return sorted(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def lines() -> object:
    """Both tools while the clock stood still: timeouts and ages tick in whole seconds."""
    for _ in range(40):
        before = conntrack()
        store = read()
        now_s = time.time()
        ours = sorted(words.conntrack_line(flow, now_s=now_s) for flow in store.flows(store.rows(), 0.0))
        after = conntrack()
        if before == after:
            return {"conntrack": before, "ours": ours}
    raise SystemExit("the table never stood still")


def filters() -> object:
    """Keys of flows: those the kernel sends, those left by the rest, those selected, those that match."""
    out = {}
    whole = read()
    everyone = whole.flows(whole.rows(), 0.0)
    for text in json.load(sys.stdin):
        node = parse(text)
        family = kernel_family(node)
        attributes, rest = kernel_filter(node, family)
        sent = read(attributes, family)
        rows = sent.rows()
        kept = select(rest, sent.columns, rows, 0.0, sent.interned)
        chosen = select(node, whole.columns, whole.rows(), 0.0, whole.interned)
        bare = read(kernel_filter(node)[0])  # without the family, as a caller that knows no better
        out[text] = {
            "sent": sent.columns["key"][rows].tolist(),
            "sent_bare": bare.columns["key"][bare.rows()].tolist(),
            "kept": sent.columns["key"][kept].tolist(),
            "selected": whole.columns["key"][chosen].tolist(),
            "matching": [flow.key for flow in everyone if matches(node, flow, time.time())],
            "rest": unparse(rest),
            "family": family,
        }
    return out


def traffic() -> object:
    """TCP through DNAT and SNAT, FTP control with its helper, UDP both ways, over IPv4 and IPv6."""
    kept = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for port in (8080, 21):
            server = socket.socket(family, socket.SOCK_STREAM)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, port))
            server.listen()
            kept.append(server)
        for target in [("127.0.0.2", 80), ("127.0.0.3", 8080)] * (family == socket.AF_INET) + [(address, 21)]:
            client = socket.socket(family, socket.SOCK_STREAM)
            client.settimeout(5)
            client.connect(target if target[0] != "127.0.0.3" else ("127.0.0.1", 8080))
            client.sendall(b"hello")
            kept.append(client)
        one, two = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        one.bind((address, 5000))
        two.sendto(b"?", (address, 5000))
        one.sendto(b"!", one.recvfrom(10)[1])
        kept += [one, two]
    # DCCP, which current kernels track by number only, but conntrack still prints with ports.
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 33) as raw:
        raw.sendto(bytes(12), ("127.0.0.1", 0))
    return len(conntrack())


def deletes() -> object:
    store = read()
    flows = store.flows(store.rows(), 0.0)
    return [
        [words.conntrack_delete_command(flow), words.conntrack_line(flow).split("id=")[-1]] for flow in flows
    ]


def timeouts() -> object:
    store = read()
    return [[words.timeout_sysctl(flow), flow.timeout_s] for flow in store.flows(store.rows(), 0.0)]


if __name__ == "__main__":
    np.seterr(all="raise")
    json.dump(
        {"lines": lines, "filters": filters, "traffic": traffic, "deletes": deletes, "timeouts": timeouts}[
            sys.argv[1]
        ](),
        sys.stdout,
    )
