"""Which kernel log lines are about this namespace's conntrack."""

import os

import pytest

from cttui.kernel.kmsg import KernelLog, concerns, message

FULL = b"4,1234,98765432,-;nf_conntrack: nf_conntrack: table full in netns 4026532245, dropping packet\n SUBSYSTEM=net\n"


def test_a_record_is_its_text() -> None:
    text = message(FULL)
    assert text == "nf_conntrack: nf_conntrack: table full in netns 4026532245, dropping packet"
    assert message(b"6,1,2,-;a\\x1b[31mb\n") == "a\\x1b[31mb"  # stays escaped
    assert message(b"garbage") is None
    assert message(b"6;x") is None


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("nf_conntrack: nf_conntrack: table full in netns 4026532245, dropping packet", True),
        ("nf_conntrack: nf_conntrack: table full in netns 4026532999, dropping packet", False),
        ("nf_conntrack: default automatic helper assignment has been turned off", True),
        ("nf_ct_proto_6: invalid packet ignored in state ESTABLISHED", True),
        ("usb 1-1: new device", False),
    ],
)
def test_other_namespaces_lines_are_not_ours(text: str, ours: bool) -> None:
    assert concerns(text, 4026532245) is ours


def test_unreadable_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "open", refuse)
    log = KernelLog()
    assert not log.readable and log.since_mark(1) is None and "Operation not permitted" in log.why


def test_a_fresh_mark_has_nothing_before_it() -> None:
    log = KernelLog()
    if not log.readable:
        pytest.skip(log.why)
    log.mark()
    assert log.since_mark(0) is not None
    log.close()
    assert log.since_mark(0) is None
