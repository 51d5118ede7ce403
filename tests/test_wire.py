"""A tun takes, refuses or is busy: every packet is sent once, in order, or counted as refused."""

import errno
import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cttui.model.actions import Fire, Template
from cttui.probe import injector, wire


@pytest.fixture
def device() -> Iterator[int]:
    """A descriptor that is always writable."""
    reading, writing = os.pipe()
    yield writing
    os.close(reading)
    os.close(writing)


ANSWERS = st.sampled_from([0, 0, 0, errno.EAGAIN, errno.ENOBUFS, errno.EINVAL])


@given(st.lists(st.lists(ANSWERS, max_size=3), max_size=9), st.integers(0, 4))
def test_every_packet_is_sent_once_or_refused(answers: list[list[int]], first: int) -> None:
    """`answers`: what writing each packet fails with, one try after the other, before it is taken."""
    total = len(answers)
    first = min(first, total)
    taken: list[int] = []
    left = [list(tries) for tries in answers]

    def write(_: int, row: memoryview) -> int:
        code = left[row[0]].pop(0) if left[row[0]] else 0
        if code:
            raise OSError(code, "not now")
        taken.append(row[0])
        return len(row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire.os, "write", write)
        patch.setattr(wire, "BUSY_NAP_S", 0.0)
        patch.setattr(wire.select, "select", lambda *_: None)
        tun = wire.Tun(-1)
        tun.load([np.arange(total, dtype=np.uint8).reshape(-1, 1)])
        sent = tun.send(first, total)

    refused = [n for n in range(first, total) if _ends(answers[n]) == errno.EINVAL]
    assert taken == [n for n in range(first, total) if n not in refused]
    assert sent == len(taken)
    assert tun.errors == ({"EINVAL": len(refused)} if refused else {})


def _ends(tries: list[int]) -> int:
    """The first answer that is not "busy": taken (0) or refused."""
    return next((code for code in tries if code not in wire.BUSY), 0)


def test_a_stuck_device_is_given_up(device: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it has refused a packet and taken three, which are counted: their losses would not add up else."""
    tries = iter([errno.EINVAL, 0, 0, 0])

    def write(_: int, row: memoryview) -> int:
        if code := next(tries, errno.ENOBUFS):
            raise OSError(code, "not now")
        return len(row)

    monkeypatch.setattr(wire.os, "write", write)
    monkeypatch.setattr(wire, "BUSY_LIMIT_S", 0.002)
    fire = Fire(templates=[Template(data=bytes(20))], count=9)
    report = injector.run(wire.Tun(device), fire, lambda _: None, lambda: False)
    assert (report.sent, report.errors, report.done) == (3, {"EINVAL": 1}, True)
    assert report.failed == "The device takes no more packets."


def test_a_slow_device_is_not_given_up(device: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is busy before every packet, all in all for longer than a stuck one may be."""
    taken: list[int] = []
    busy = [True]

    def write(_: int, row: memoryview) -> int:
        busy[0] = not busy[0]
        if not busy[0]:
            raise OSError(errno.ENOBUFS, "full")
        taken.append(row[0])
        return len(row)

    monkeypatch.setattr(wire.os, "write", write)
    monkeypatch.setattr(wire, "BUSY_LIMIT_S", 0.05)
    monkeypatch.setattr(wire, "BUSY_NAP_S", 0.004)
    tun = wire.Tun(device)
    tun.load([np.arange(40, dtype=np.uint8).reshape(-1, 1)])
    assert tun.send(0, 40) == 40 and taken == list(range(40))
