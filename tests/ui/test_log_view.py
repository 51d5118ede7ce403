"""The log on screen beside the probe's log: a window scrolled back stays put while the log turns over."""

import numpy as np
from host import Host
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_samples import records, tcp

from cttui.kernel.packet_columns import decode_headers
from cttui.kernel.ring import PacketBatch
from cttui.probe.packet_log import PacketLog as ProbeLog
from cttui.probe.packet_log import PacketTuple
from cttui.ui.widgets.packet_log import PacketLog


class NoFlows:
    def of_packets(self, tuples: list[PacketTuple]) -> list[tuple[int, str]]:
        return [(0, "")] * len(tuples)

    def tuples_of(self, key: int) -> list[PacketTuple]:
        return []


def more(log: ProbeLog, count: int) -> None:
    rows = records([(0x0800, tcp(1000 + (log.total + i) % 50_000)) for i in range(count)])
    log.append(PacketBatch(rows, decode_headers(rows)), 0.0)


def answer(widget: PacketLog, log: ProbeLog) -> None:
    widget.show(log.page(widget.view(), NoFlows(), 100.0, names={7: "tun0"}))


def visible(widget: PacketLog) -> list[int]:
    """Numbers of the packets on screen."""
    first = widget.top - widget.page.first
    return [row.seq for row in widget.page.rows[first : first + widget.visible_rows]]


async def test_following_shows_the_newest_and_back_stays_put() -> None:
    app = Host(PacketLog())
    async with app.run_test(size=(80, 11)) as pilot:
        widget, log = app.query_one(PacketLog), ProbeLog(100)
        widget.focus()
        await pilot.pause()
        more(log, 250)
        answer(widget, log)
        assert visible(widget) == list(range(241, 251))
        await pilot.press("pageup", "pageup")
        answer(widget, log)
        before, chosen = visible(widget), widget.selected
        assert before[-1] < 250 and chosen is not None
        for _ in range(5):
            more(log, 10)
            answer(widget, log)
            assert visible(widget) == before and widget.selected == chosen
        await pilot.press("home")
        answer(widget, log)
        assert visible(widget)[0] == 201  # the oldest there is
        more(log, 300)
        answer(widget, log)  # all of it fell out meanwhile
        assert len(visible(widget)) == 10 and visible(widget)[0] >= 501
        await pilot.press("end")
        answer(widget, log)
        assert widget.following and visible(widget)[-1] == 600


async def test_the_same_under_a_filter() -> None:
    app = Host(PacketLog())
    async with app.run_test(size=(80, 11)) as pilot:
        widget, log = app.query_one(PacketLog), ProbeLog(200)
        widget.focus()
        await pilot.pause()
        more(log, 300)
        assert widget.narrow(filter_text="sport=1000-1399 and not sport=1290-1295")
        answer(widget, log)
        await pilot.press("pageup", "up")
        answer(widget, log)
        before = visible(widget)
        more(log, 80)
        answer(widget, log)
        assert visible(widget) == before and all(not 291 <= seq <= 296 for seq in before)
        assert not widget.narrow(filter_text=widget.filter_text)
        widget.narrow(filter_text="")
        answer(widget, log)
        assert widget.following and visible(widget)[-1] == 380


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(["up", "pageup", "home", "down", "pagedown", "more", "much"]), max_size=25))
async def test_no_window_moves_by_itself(moves: list[str]) -> None:
    app = Host(PacketLog())
    async with app.run_test(size=(80, 9)) as pilot:
        widget, log = app.query_one(PacketLog), ProbeLog(60)
        widget.focus()
        await pilot.pause()
        more(log, 90)
        answer(widget, log)
        for move in moves:
            if move in ("more", "much"):
                before, following = visible(widget), widget.following
                more(log, 3 if move == "more" else 40)
                answer(widget, log)
                answer(widget, log)
                oldest = log.total - log.kept + 1
                if following:
                    assert visible(widget)[-1] == log.total
                elif before and before[0] >= oldest:
                    assert visible(widget) == before
            else:
                await pilot.press(move)
                answer(widget, log)
            assert np.all(np.diff(visible(widget)) == 1)
