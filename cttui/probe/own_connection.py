"""The connection a person watches us through: it is neither shown as traffic nor deleted."""

import socket

from cttui.model.flow import AF_INET, AF_INET6, Flow


def watched_through(connection: tuple[str, int, str, int] | None, flow: Flow) -> bool:
    """Whether the flow is this connection (client, its port, server, its port), in either direction."""
    if connection is None:
        return False
    client, client_port, server, server_port = connection
    try:
        packed = _packed(client), client_port, _packed(server), server_port
    except OSError:
        return False
    ends = (
        (flow.orig_src, flow.orig_sport, flow.orig_dst, flow.orig_dport),
        (flow.reply_dst, flow.reply_dport, flow.reply_src, flow.reply_sport),
    )
    return packed in ends


def _packed(address: str) -> bytes:
    return socket.inet_pton(AF_INET6 if ":" in address else AF_INET, address.split("%")[0])
