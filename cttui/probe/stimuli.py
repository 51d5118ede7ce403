"""What applications do, from inside the sandbox: listen, send, connect; and what they get to see of it."""

import asyncio
import errno
import ipaddress
import socket

from cttui.model.actions import Listen, Send
from cttui.model.faults import FaultError

_PROTOCOLS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def _family(address: str) -> int:
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        raise FaultError("bad-address", f"{address!r} is no IP address.") from None
    return socket.AF_INET if version == 4 else socket.AF_INET6


def _port(port: int) -> int:
    if not 0 <= port <= 65535:
        raise FaultError("bad-address", f"There is no port {port}.")
    return port


def errno_name(error: OSError) -> str:
    """EPERM and the like; the number where it has no name."""
    return errno.errorcode.get(error.errno or 0, str(error.errno))


def listen(what: Listen) -> socket.socket:
    """A listener that never accepts: connections wait in its backlog. Close it to end it. Raises FaultError."""
    kind = _PROTOCOLS.get(what.protocol)
    if kind is None:
        raise FaultError("bad-protocol", f"Listening is for tcp and udp, not {what.protocol!r}.")
    listener = socket.socket(_family(what.address), kind | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((what.address, _port(what.port)))
        if what.protocol == "tcp":
            listener.listen(what.backlog)
    except OSError as e:
        listener.close()
        raise FaultError(
            "listen-failed", f"Listening on {what.protocol} {what.address} port {what.port}: {e.strerror}."
        ) from None
    return listener


async def send(what: Send) -> str:
    """Send as an application would and say what it sees: `sent`, `connected`, `hangs` or an errno name.

    `hangs` means that a connect had no answer, good or bad, within `timeout_s`. Raises FaultError.
    """
    family = _family(what.address)
    if what.how == "udp":
        return _datagram(family, socket.SOCK_DGRAM, 0, what)
    if what.how == "raw":
        # IPPROTO_RAW: the data is a whole packet, IP header included
        return _datagram(family, socket.SOCK_RAW, socket.IPPROTO_RAW, what)
    if what.how != "connect":
        raise FaultError("bad-send", f"There is no way to send called {what.how!r}.")
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            async with asyncio.timeout(what.timeout_s):
                await asyncio.get_running_loop().sock_connect(client, (what.address, _port(what.port)))
        except TimeoutError as e:
            return "ETIMEDOUT" if e.errno else "hangs"  # the kernel's own timeout has a number
        except OSError as e:
            return errno_name(e)
        return "connected"


def _datagram(family: int, kind: int, protocol: int, what: Send) -> str:
    port = _port(what.port) if kind == socket.SOCK_DGRAM else 0  # raw IPv6 refuses a port
    try:
        with socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol) as sender:
            sender.sendto(what.data, (what.address, port))
    except OSError as e:
        return errno_name(e)
    return "sent"
