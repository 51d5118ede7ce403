"""Scenes of the gallery: the dashboard and its panels, by what the table holds."""

from gallery_stage import Gallery, Scene

from cttui.ui.fields import Field

HELP_PANELS = ("flows", "hooks", "packets", "groups", "statistics")
MIXED = 'IP(src=RandIP("198.51.100.0/28"),dst="192.0.2.1")/UDP(sport=RandNum(20000,60000),dport=[53,123,443])'
LONG = (
    'IPv6(src="2001:db8:1234:5678:9abc:def0:1234:5678",dst="2001:db8::1")/UDP(sport=(50000,50009),dport=443)'
)
RULES = (
    "iptables -t nat -A PREROUTING -d 192.0.2.1 -p udp --dport 53 -m comment --comment 'resolver' -j REDIRECT --to-ports 5353",
    "iptables -A INPUT -p udp --dport 123 -j DROP",
    "iptables -N LIMITS",
    "iptables -A INPUT -p udp -m hashlimit --hashlimit-name sources --hashlimit-mode srcip --hashlimit-above 2000/s -j LIMITS",
    "iptables -A LIMITS -j DROP",
)


async def compose(s: Gallery, line: str, count: int, rate: str = "0") -> None:
    """Compose a burst and fire it; it runs on."""
    await s.go("B")
    for field, text in (("line", line), ("count", str(count)), ("rate", rate), ("seed", "7")):
        s.app.screen.query_one(f"#{field}", Field).value = text
    await s.pilot.pause()
    s.app.dashboard.burst = None
    await s.pilot.press("f5")
    await s.until(lambda: s.app.dashboard.burst is not None)


async def rules(s: Gallery, *lines: str) -> None:
    """Set rules in the sandbox, as a tale does."""
    from cttui.model.actions import Rules

    await s.app.session.settle(Rules(lines=list(lines)))


async def keep_udp(s: Gallery) -> None:
    """Have UDP flows outlive their pictures, which take minutes."""
    from cttui.model.actions import Set

    longer = Set(name="nf_conntrack_udp_timeout", value="3000", expected_old="30", keep_s=0)
    await s.app.session.settle(longer)


async def _first(s: Gallery) -> None:
    await s.picture("first")
    for panel in HELP_PANELS:
        await s.go(str(1 + HELP_PANELS.index(panel)), "question_mark")
        await s.picture(f"help-{panel}")
        await s.home()
    for key, panel in (("2", "hooks"), ("3", "packets"), ("4", "groups"), ("5", "statistics")):
        await s.go(key, key)
        await s.picture(f"empty-{panel}")
        await s.home()
    await s.go("J")
    await s.picture("empty-journeys")
    await s.home()
    await s.go("f4")
    await s.picture("empty-explain")
    await s.home()
    await s.go("v")
    await s.picture("notice-no-burst", notice=True)


async def _syns(s: Gallery) -> None:
    await s.burst()
    await s.picture("ten-syns")
    await s.go("down", "down", "z")
    await s.picture("flows")
    await s.home()
    await s.go("enter")
    await s.picture("flow-detail")
    await s.home()
    await s.go("L")
    await s.picture("its-packets")
    await s.home()
    await s.go("3", "3")
    await s.picture("packets")
    await s.press("enter")
    await s.picture("packet-detail")
    await s.home()
    await s.go("2", "2", "down", "down")
    await s.picture("hooks")
    while s.app.dashboard.hooks.selected is None:
        await s.press("down")
    await s.press("enter")
    await s.picture("rule-detail")
    await s.home()
    await s.go("J")
    await s.picture("journeys")
    await s.home()
    await s.go("v")
    await s.picture("burst-result")
    await s.home()
    await s.go("f4")
    await s.picture("explain-nothing-lost")
    await s.home()
    await s.go("space")
    await s.picture("frozen")
    await s.press("space", "f9", "down")
    await s.picture("presenter")
    await s.press("f9")
    s.app.session.link._process.kill()  # type: ignore[union-attr]
    await s.until(lambda: s.app.session.state.fault is not None)
    await s.picture("probe-died")


async def _filters(s: Gallery) -> None:
    await s.burst()
    await s.go("slash")
    await s.picture("filter-empty")
    await s.type("state=SYN_SNET")
    await s.picture("filter-error")
    await s.press(*["backspace"] * 14)
    await s.type("sta")
    await s.picture("filter-completion")
    await s.press("escape")
    await s.go("slash", *"sport<10003", "enter")
    await s.picture("filter-on")
    await s.home()
    await s.go("slash", *"dport=443", "enter")
    await s.picture("filter-no-match")
    await s.home()
    await s.go("3", "slash", *"tcp sport=10004")
    await s.picture("filter-packets")
    await s.press("escape", "slash", *"assured")
    await s.picture("filter-packets-error")


async def _busy(s: Gallery) -> None:
    await keep_udp(s)
    await rules(s, *RULES)
    await compose(s, MIXED, 200_000, "400")
    await s.readings(6)
    await s.picture("burst-running")
    await s.go("x")
    await s.settled()
    await s.picture("burst-stopped")
    await compose(s, MIXED, 3000)
    await s.settled()
    await s.home()
    await s.picture("busy")
    await s.go("g")
    await s.picture("group-by")
    await s.choose("src")
    await s.press("space")
    await s.choose("dport")
    await s.press("space")
    await s.picture("group-by-several")
    await s.press("enter")
    await s.picture("groups-beside")
    await s.go("4", "4")
    await s.picture("groups")
    await s.press("enter")
    await s.picture("group-drilled")
    await s.press("enter")
    await s.home()
    await s.go("5", "5")
    await s.picture("statistics")
    await s.home()
    await s.go("3", "3")
    await s.picture("packets-busy")
    await s.home()
    await s.go("2", "2")
    await s.picture("hooks-busy")
    await s.press("o")
    await s.picture("hooks-hottest")
    await s.home()
    await s.go("J")
    await s.picture("journeys-busy")
    await s.home()
    await s.go("slash", *"nat", "enter", "z")
    await s.picture("flows-nat")
    await s.press("enter")
    await s.picture("flow-detail-nat")


async def _wide_addresses(s: Gallery) -> None:
    await keep_udp(s)
    await compose(s, LONG, 10, "100")
    await s.settled()
    await s.home()
    await s.picture("ipv6")
    await s.go("enter")
    await s.picture("ipv6-flow-detail")
    await s.home()
    await s.go("3", "3", "enter")
    await s.picture("ipv6-packet-detail")
    await s.home()
    await s.go("J")
    await s.picture("ipv6-journeys")


async def _full(s: Gallery) -> None:
    await s.picture("filled")
    await s.burst()
    await s.until(lambda: "table full" in s.app.dashboard.hooks.as_text())
    await s.picture("full")
    await s.go("f4")
    await s.picture("explain")
    await s.home()
    await s.go("3", "3")
    await s.picture("packets-lost")
    await s.press("end", "enter")
    await s.picture("packet-detail-lost")
    await s.home()
    await s.go("2", "2")
    await s.picture("hooks-lost")
    await s.home()
    await s.go("J", "end")
    await s.picture("journeys-lost")
    await s.home()
    await s.go("v")
    await s.picture("burst-result-lost")
    await s.home()
    await s.go("5", "5")
    await s.picture("statistics-full")
    await s.home()
    await s.go("t")
    await s.picture("tunables-full")
    await s.home()
    await s.go("f9")
    await s.picture("presenter-full")
    await s.press("f9")
    await s.go("f")
    await s.until(lambda: s.app.dashboard.flows.total > 7)
    await s.press("end")  # the burst's flows are newer
    await s.readings(2)
    await s.picture("fillers")
    await s.go("enter")
    await s.picture("flow-detail-filler")


SCENES = {
    "first": Scene(_first),
    "syns": Scene(_syns),
    "filters": Scene(_filters),
    "busy": Scene(_busy),
    "ipv6": Scene(_wide_addresses),
    "full": Scene(_full, free=7),
}
