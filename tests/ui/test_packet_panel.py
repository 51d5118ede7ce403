"""The packet log on screen: what became of each packet, following and scrolling back."""

import msgspec
import pytest
import samples as s
from host import Host, shown

from cttui.model.packet import PacketPage
from cttui.ui.widgets.packet_log import PacketLog


async def test_the_log_says_what_became_of_each_packet() -> None:
    lines = await shown(PacketLog(), s.packets(), (80, 6))
    assert lines[0].startswith("─3 Packets─") and lines[0].endswith("10 packets ─")
    assert "198.51.100.2:10009 > 192.0.2.1:80 [S]" in lines[-1] and "  lost in conntrack" in lines[-1]
    wide = await shown(PacketLog(), s.packets(), (160, 12))
    assert (
        "lost in conntrack: table full" in wide[10]
        and "SYN_SENT [UNREPLIED]" in wide[1]
        and "len 40" in wide[1]
    )
    assert " tun0 in " in wide[1]


async def test_following_and_scrolling_back() -> None:
    widget = PacketLog()
    app = Host(widget)
    async with app.run_test(size=(80, 6)) as pilot:
        widget.focus()
        await pilot.pause()
        everything = s.packets(100, lost=0)

        def answer() -> None:
            first, count = widget.question()
            at = 100 - count if first < 0 else first
            widget.show(
                PacketPage(
                    capturing=True,
                    total=100,
                    kept=100,
                    matched=100,
                    first=at,
                    rows=everything.rows[at : at + count],
                )
            )

        answer()
        assert widget.following and ":10099 " in widget.as_text().split("\n")[-1]
        await pilot.press("up", "pageup")
        await pilot.pause()
        assert not widget.following and "F follows" in widget.as_text()
        assert any(isinstance(m, PacketLog.WindowWanted) for m in app.said)
        assert widget.question() == (widget.top, 5)
        answer()
        await pilot.pause()
        assert widget.selected is not None and widget.selected.seq == widget.cursor + 1
        await pilot.press("enter")
        await pilot.pause()
        assert [m for m in app.said if isinstance(m, PacketLog.Opened)][-1].packet == widget.selected
        await pilot.press("end")
        assert widget.following
        await pilot.press("F")
        assert not widget.following
        await pilot.press("i")
        answer()
        await pilot.pause()
        assert " 0.011000 " in widget.as_text()


async def test_a_packet_shows_its_end_and_its_flow_where_there_is_room() -> None:
    row = msgspec.structs.replace(
        s.packets(1).rows[0], fate="in conntrack: table full", ct_state="SYN_SENT [UNREPLIED]"
    )
    wide, narrow = [
        (await shown(PacketLog(), s.packets(1, rows=[row]), (width, 5)))[1] for width in (160, 80)
    ]
    assert wide.rstrip(" ┃").endswith("  SYN_SENT [UNREPLIED]  lost in conntrack: table full")
    assert "SYN_SENT" not in narrow and narrow.rstrip(" ┃").endswith("  lost in conntrack")
    assert " len " in wide


async def test_the_log_says_what_it_does_not_show() -> None:
    page = s.packets(20, rate_pps=38_000.0, total=1_000_000, kept=100_000, matched=100_000, dropped=17,
                     left_out="Left out: the SSH connection you watch through.", top=[("tcp 198.51.100.2 > 192.0.2.1 [S]", 15_892)], top_of=16_384)  # fmt: skip
    log = PacketLog()
    log.page = msgspec.structs.replace(page, total=962_000)
    lines = await shown(log, page, (160, 12))
    assert (
        "38,000 pps, showing 1 in 4,200" in lines[0]
        and "DROPPED 17 by the ring" in lines[0]
        and "last 100,000 kept" in lines[0]
    )
    assert "38,000 pps, showing the newest 9" in (await shown(PacketLog(), page, (160, 12)))[0]
    assert "SSH connection" in lines[1] and lines[2].startswith("   97% tcp 198.51.100.2 > 192.0.2.1 [S]")
    assert lines[2].endswith("most frequent of the newest 16,384")
    scattered = msgspec.structs.replace(page, top=[("tcp 198.18.0.1 > 192.0.2.1 [S]", 12)])
    assert "198.18.0.1" not in "".join(await shown(PacketLog(), scattered, (160, 12))), "0 % are no kind"
    assert "The packet log is off." in (await shown(PacketLog(), PacketPage(), (80, 5)))[1]
    unread = PacketLog()
    async with Host(unread).run_test(size=(80, 5)):
        assert "Not read yet." in unread.as_text(), "nobody has said that it is off"
    assert "No packets yet." in (await shown(PacketLog(), PacketPage(capturing=True), (80, 5)))[1]


async def test_what_became_of_it_keeps_off_the_scroll_bar() -> None:
    for width in (60, 80, 120):
        lines = (await shown(PacketLog(), s.packets(20), (width, 6)))[1:]
        assert all(line[-1] in "│┃" and line[-2] == " " for line in lines), lines
        without = (await shown(PacketLog(), s.packets(3), (width, 6)))[1:]
        assert all(len(line.rstrip()) < width for line in without), without


@pytest.mark.parametrize("width", [70, 60, 50])
async def test_ports_stay_where_addresses_are_cut(width: int) -> None:
    lines = (await shown(PacketLog(), s.packets(), (width, 12)))[1:]
    assert all(f":{10000 + i} > " in line and ":80 " in line for i, line in enumerate(lines)), lines


@pytest.mark.parametrize(("left_s", "left_packets", "rate", "said"), [
    (590.0, 200_000, 10.0, "on for 10 min, P stops"), (42.4, 200_000, 0.0, "on for 42 s, P stops"),
    (590.0, 1_234, 500.0, "on for 1,234 more, P stops"), (None, 7, 0.0, "on for 7 more, P stops"), (None, None, 5.0, ""),
])  # fmt: skip
async def test_a_capture_that_ends_by_itself_says_when(
    left_s: float | None, left_packets: int | None, rate: float, said: str
) -> None:
    panel = PacketLog()
    panel.stop_key = "P"
    page = s.packets(3, left_s=left_s, left_packets=left_packets, rate_pps=rate)
    heading = (await shown(panel, page, (80, 5)))[0]
    assert said in heading and ("stops" in heading) == bool(said)
    assert "stops" not in (await shown(PacketLog(), s.packets(3, capturing=False, left_s=left_s), (80, 5)))[0]


async def test_hostile_packets_reach_the_screen_as_text() -> None:
    row = s.packets(1).rows[0]
    import msgspec

    rows = [
        msgspec.structs.replace(row, interface="e\x1b[31m\n", fate="[b]\x1b]0;x\x07", data=b"\x45"),
        msgspec.structs.replace(row, data=b"", ethertype=0xFFFF, direction="\x1b[2J", ct_state="[/x]\x07"),
    ]
    lines = await shown(PacketLog(), s.packets(2, rows=rows, left_out="\x1b[1m[/b]"), (80, 8))
    assert any("[b]" in line for line in lines)


async def test_the_newest_is_marked_while_keys_act_on_it() -> None:
    widget = PacketLog()
    app = Host(widget)
    async with app.run_test(size=(80, 6)) as pilot:
        widget.show(s.packets(3, lost=0))
        assert widget.following and not any("cursor" in style for line in widget._lines for _, style in line)
        widget.focus()
        await pilot.pause()
        widget.show(s.packets(4, lost=0))
        assert [line[0][1] for line in widget._lines[1:5]] == ["muted", "muted", "muted", "cursor"]


async def test_a_taller_log_asks_for_the_rows_it_has_room_for() -> None:
    widget = PacketLog()
    app = Host(widget)
    async with app.run_test(size=(80, 4)) as pilot:
        rows = s.packets(3, lost=0, total=40, kept=40, matched=40)
        widget.show(msgspec.structs.replace(rows, first=37))
        await pilot.resize_terminal(80, 3)
        await pilot.pause()
        assert not app.said
        await pilot.resize_terminal(80, 20)
        await pilot.pause()
        assert isinstance(app.said[-1], PacketLog.WindowWanted) and widget.question() == (-1, 19)
