"""Which addresses are ours, and what is said where the kernel tells nothing of sockets."""

import json
import socket
import sys
from typing import Any

import pytest

from cttui.kernel import sock_diag

LOCAL = """
import json, socket
from cttui.kernel.sock_diag import is_local
ours = lambda a: is_local(10 if ":" in a else 2, socket.inet_pton(socket.AF_INET6 if ":" in a else socket.AF_INET, a))
print(json.dumps({a: ours(a) for a in (
    "192.0.2.1", "127.0.0.2", "2001:db8::1", "::1", "192.0.2.9", "198.51.100.1", "224.0.0.1", "2001:db8::9")}))
"""


@pytest.mark.kernel
@pytest.mark.parametrize("nonlocal_bind", ["0", "1"])
def test_our_addresses(netns: Any, nonlocal_bind: str) -> None:
    # As keepalived and HAProxy have it: then a socket may be bound to any address, and a forwarded flow was
    # said to be that of whatever listens on its port here.
    for family in ("ipv4", "ipv6"):
        netns.run("sysctl", "-qw", f"net.{family}.ip_nonlocal_bind={nonlocal_bind}")
    netns.run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    netns.run("ip", "address", "add", "2001:db8::1/64", "dev", "lo", "nodad")
    ours = [a for a, here in json.loads(netns.run(sys.executable, "-c", LOCAL)).items() if here]
    assert ours == ["192.0.2.1", "127.0.0.2", "2001:db8::1", "::1"]


def test_a_kernel_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(93, "Protocol not supported")

    monkeypatch.setattr(socket, "socket", unsupported)
    assert sock_diag.find_socket(6, (b"\x7f\0\0\1", 1), (b"\x7f\0\0\1", 2)) is None
    assert not sock_diag.is_local(2, b"\x7f\0\0\1")
