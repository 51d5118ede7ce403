"""Kernel settings the program shows and, guarded, changes."""

import msgspec


class Tunable(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """One sysctl: present value, whom it affects, who may write it, what reverts it."""

    name: str
    value: str
    scope: str
    """`machine` (one value for all namespaces) or `netns`."""
    writable: bool
    why: str
    """Where not writable: what stands in the way; otherwise what a change affects."""
    help: str = ""
    reverts_to: str = ""
    """The old value that the warden will put back, "" where nothing is pending."""
    reverts_in_s: float | None = None
    """Seconds until it is put back; None: at exit."""


TUNABLES: dict[str, tuple[str, str]] = {
    "nf_conntrack_max": ("machine", "How many entries the table of each namespace may hold before new connections are dropped. 0: unlimited."),
    "nf_conntrack_tcp_loose": ("netns", "1: an ACK of an unknown connection makes an ESTABLISHED entry (pick-up). 0: it is INVALID."),
    "nf_conntrack_acct": ("netns", "1: count packets and bytes of flows that begin from now on."),
    "nf_conntrack_events": ("netns", "2: events only while someone listens; flows born before that end without an event. 1: always. 0: never."),
    "nf_conntrack_timestamp": ("netns", "1: remember when flows that begin from now on started."),
    "nf_conntrack_log_invalid": ("netns", "Log INVALID packets of this protocol number, 255: all, 0: none."),
    "nf_conntrack_tcp_be_liberal": ("netns", "1: only RSTs out of window are INVALID, not every segment out of window."),
    "nf_conntrack_tcp_timeout_established": ("netns", "Seconds until an idle established TCP entry ends. Existing entries keep theirs."),
    "nf_conntrack_tcp_timeout_syn_sent": ("netns", "Seconds until an unanswered SYN's entry ends. Existing entries keep theirs."),
    "nf_conntrack_udp_timeout": ("netns", "Seconds until an unanswered UDP entry ends. Existing entries keep theirs."),
}  # fmt: skip
"""name → (scope, help); names relative to /proc/sys/net/netfilter."""
