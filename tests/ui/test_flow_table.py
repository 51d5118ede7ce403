"""The flow table: what it says, where its cursor stays, what it asks for, and how little it repaints."""

import asyncio
import time
from typing import Any

import pytest
import samples as s
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.message import Message
from textual.pilot import Pilot

from cttui.model import flow as f
from cttui.model.flow import Flow
from cttui.ui import theme
from cttui.ui.cells import Cells
from cttui.ui.column_chooser import ColumnChooser
from cttui.ui.dialogs import Menu
from cttui.ui.lines import width_of
from cttui.ui.widgets import flow_table
from cttui.ui.widgets.flow_columns import BY_ID, COLUMNS, NARROW, shares
from cttui.ui.widgets.flow_table import FlowTable

ASSURED = f.CONFIRMED | f.SEEN_REPLY | f.ASSURED


class Host(App[None]):
    """A table alone on the screen; keeps its messages, and answers as a probe with `flows` would."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, flows: list[Flow]) -> None:
        super().__init__()
        self.flows = flows
        self.said: list[Message] = []
        self.mute = False
        self.now = 1000.0

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.variable_defaults()

    def compose(self) -> ComposeResult:
        yield FlowTable()

    def on_mount(self) -> None:
        self.table.focus()

    @property
    def table(self) -> FlowTable:
        return self.query_one(FlowTable)

    def answer(self, **kw: Any) -> None:
        first, count, follow = self.table.question()
        at = next((i for i, flow in enumerate(self.flows) if flow.key == follow), -1)
        if follow:  # anchored: counted from the followed flow
            first = max(0, min(first + max(at, 0), len(self.flows) - 1))
        rows = self.flows[first : first + count]
        self.table.show(s.page(rows, first=first, matched=len(self.flows), follow_at=at, **kw), now=self.now)

    def on_rows_window_wanted(self, event: FlowTable.WindowWanted) -> None:
        self.said.append(event)
        if not self.mute:
            self.answer()

    def on_flow_table_sort_wanted(self, event: FlowTable.SortWanted) -> None:
        self.said.append(event)

    def on_flow_table_opened(self, event: FlowTable.Opened) -> None:
        self.said.append(event)

    def on_flow_table_moved(self, event: FlowTable.Moved) -> None:
        self.said.append(event)

    def of(self, kind: type[Message]) -> list[Any]:
        return [message for message in self.said if isinstance(message, kind)]


def lines(app: Host) -> list[str]:
    return app.table.as_text().split("\n")


async def begun(app: Host, pilot: Pilot[None], **kw: Any) -> None:
    await pilot.pause()
    app.answer(**kw)
    await pilot.pause()


async def test_flows_that_have_ended_are_shown_and_not_counted() -> None:
    app = Host([s.flow(9 - i) for i in range(7)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot, total=5, ended=2)
        assert lines(app)[0].endswith("━ 5 ━")


async def test_80_columns_say_what_the_article_says() -> None:
    app = Host([s.flow(9 - i) for i in range(7)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot, total=262144, fillers_hidden=262137)
        text = lines(app)
        assert text[0].startswith("━1 Flows━") and text[0].endswith("7 of 262,144 ━")
        assert "262,137 fillers hidden" in text[0] and "sort newest ▼" in text[0]
        assert text[1].split() == ["PROTO", "STATE", "SOURCE", "DESTINATION", "TIMEOUT", "FLAGS"]
        assert text[2].split() == [
            "tcp",
            "SYN_SENT",
            "198.51.100.2:10009",
            "192.0.2.1:80",
            "119s",
            "unreplied",
        ]
        assert len(text) == 9 and all(width_of(line) <= 80 for line in text)


def test_cells_say_what_the_filter_takes_and_nothing_unknown() -> None:
    labels = (1 << 3 | 1 << 70).to_bytes(16, "little")
    assert BY_ID["labels"].text(s.flow(0, labels=labels)) == "3,70"
    assert BY_ID["timeout"].text(s.flow(0, status=f.OFFLOAD, timeout_s=0)) == "–"


async def test_the_column_chooser_is_whole_at_80_columns() -> None:
    app = Host([])
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(ColumnChooser(COLUMNS, NARROW, {"proto": 9}, {}))
        await pilot.pause()
        said = app.screen.query_one(Menu).as_text().split("\n")
        assert len(said) == len(COLUMNS) and said[0].split()[:4] == ["▸●", "PROTO", "9", "protocol;"]
        assert all(
            line.endswith(column.help)
            for line, column in zip(
                said, (BY_ID[x.id] for x in app.screen.query_one(Menu).entries), strict=True
            )
        )
        assert [line[1] for line in said].count("●") == len(NARROW) and said[-1][1] == "○"


@pytest.mark.parametrize("width", [40, 80, 120])
async def test_a_filter_that_is_too_long_is_cut_and_not_kept_quiet(width: int) -> None:
    app = Host([s.flow(9 - i) for i in range(7)])
    app_filter = "state ESTABLISHED › src 2001:db8::7 › dst/24 198.51.100.0/24 " + "dport=443 " * 12
    async with app.run_test(size=(width, 12)) as pilot:
        app.table.filter_text, app.table.filtered_in = app_filter.strip(), "kernel"
        await begun(app, pilot, total=262144)
        heading = lines(app)[0]
        assert "filter" in heading and heading.endswith(" 7 of 262,144 ━")
        assert width < 80 or (
            "…" in heading and "filter in kernel: state" in heading and "dport=443 ━" in heading
        )


async def test_the_last_column_keeps_off_the_scrollbar() -> None:
    flows = [s.flow(i, status=ASSURED | f.SRC_NAT | f.DST_NAT | f.FIXED_TIMEOUT) for i in range(20)]
    app = Host(flows)
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        for line in lines(app)[2:]:
            assert line[-1] in "┃│" and line[-2] == " " and "…" in line[-5:]


@pytest.mark.parametrize(
    ("width", "labels"), [(80, {"FLAGS"}), (120, {"ANSWERED BY", "BYTES"}), (200, {"MARK", "ID", "AGE"})]
)
async def test_wider_screens_say_more(width: int, labels: set[str]) -> None:
    flow = s.flow(1, status=ASSURED | f.DST_NAT, reply_src=s.ip("10.0.0.7"), mark=0x10, zone=3, orig_packets=5, orig_bytes=1500,
                  reply_packets=5, reply_bytes=500, rate_bps=1.2e6)  # fmt: skip
    app = Host([flow])
    async with app.run_test(size=(width, 6)) as pilot:
        await begun(app, pilot)
        text = lines(app)
        assert all(label in text[1] for label in labels)
        if width >= 120:
            assert "10.0.0.7:80" in text[2] and "2.0k" in text[2]
        if width >= 200:
            assert "0x10" in text[2] and "1.2Mb/s" in text[2] and "≥100s" in text[2] and "1001" in text[2]


async def test_ipv6_fits_or_is_cut_in_its_middle() -> None:
    long = s.flow(1, src="2001:db8:1234:5678:9abc:def0:1234:5678", dst="2001:db8::1", dport=443)
    app = Host([long, s.flow(2)])
    async with app.run_test(size=(80, 8)) as pilot:
        await begun(app, pilot)
        line = next(line for line in lines(app) if "2001" in line)
        assert "…" in line and ":10001 " in line and "[2001:db8::1]:443" in line
        assert width_of(line) <= 80
        await pilot.resize_terminal(200, 8)
        await pilot.pause()
        assert "[2001:db8:1234:5678:9abc:def0:1234:5678]:10001" in app.table.as_text()


async def test_the_cursor_stays_on_its_flow() -> None:
    app = Host([s.flow(i) for i in range(100)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        await pilot.press("down", "down", "down")
        assert app.table.selected is not None and app.table.selected.key == 5003
        assert [m.flow.key for m in app.of(FlowTable.Moved)[-3:]] == [5001, 5002, 5003]
        screen_line = app.table.cursor - app.table.top
        app.flows = [s.flow(1000 + i) for i in range(4)] + app.flows
        app.answer()
        await pilot.pause()
        assert app.table.selected is not None and app.table.selected.key == 5003
        assert app.table.cursor == 7 and app.table.cursor - app.table.top == screen_line
        app.flows = app.flows[50:] + app.flows[:50]  # another order: far away
        for _ in range(2):
            app.answer()
            await pilot.pause()
        assert app.table.selected is not None and app.table.selected.key == 5003


async def test_the_cursor_at_the_top_stays_at_the_top() -> None:
    app = Host([s.flow(i) for i in range(100)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        app.flows = [s.flow(1000), *app.flows]
        app.answer()
        assert app.table.cursor == 0 and app.table.top == 0
        await pilot.press("end", "home")
        app.flows = [s.flow(1001), *app.flows]
        app.answer()
        assert app.table.cursor == 0 and app.table.selected == app.flows[0]


async def test_the_cursor_takes_the_next_flow_when_its_own_ends() -> None:
    app = Host([s.flow(i) for i in range(30)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        await pilot.press("down", "down")
        del app.flows[2]
        app.answer()
        await pilot.pause()
        assert app.table.cursor == 2 and app.table.selected == app.flows[2]
        assert app.of(FlowTable.Moved)[-1].flow == app.flows[2]


async def test_churn_that_outruns_the_window_leaves_rows_on_screen() -> None:
    app = Host([s.flow(i) for i in range(100)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        await pilot.press("down")
        for round_ in range(5):
            app.flows = [s.flow(1000 * (round_ + 1) + i) for i in range(500)] + app.flows
            app.answer()
            await pilot.pause()
            assert lines(app)[-1].split()[0] == "tcp", "the panel is never left empty"
        assert app.table.cursor == 1 + 5 * 500 and app.table._follow == 5001


async def test_keys_scroll_and_ask_for_what_is_not_here() -> None:
    app = Host([s.flow(i) for i in range(5000)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        await pilot.press("G")
        await pilot.pause()
        assert app.table.cursor == 4999 and app.table.selected == app.flows[4999]
        assert app.of(FlowTable.WindowWanted)[-1].rows is app.table
        assert ":14999" in lines(app)[-1]
        await pilot.press("pageup", "ctrl+b", "k", "up")
        await pilot.pause()
        assert app.table.cursor == 4999 - 2 * 9 - 2
        assert app.table.selected == app.flows[app.table.cursor]
        await pilot.press("home", "pagedown", "ctrl+f", "j", "down")
        await pilot.pause()
        assert app.table.cursor == 20
        await pilot.press("enter")
        await pilot.pause()
        assert app.of(FlowTable.Opened)[-1].flow == app.flows[20]


async def test_wheel_and_click() -> None:
    app = Host([s.flow(i) for i in range(100)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        await pilot.click(FlowTable, offset=(10, 5))
        assert app.table.cursor == 3
        from textual import events

        app.table.post_message(events.MouseScrollDown(app.table, 5, 5, 0, 1, 0, False, False, False))
        await pilot.pause()
        assert app.table.top == 3 and app.table.cursor == 3
        app.table.post_message(events.MouseScrollDown(app.table, 5, 5, 0, 1, 0, False, False, False))
        await pilot.pause()
        assert app.table.top == 6 and app.table.cursor == 6
        await pilot.click(FlowTable, offset=(20, 1))  # the SOURCE header begins at 21
        await pilot.click(FlowTable, offset=(22, 1))
        assert app.of(FlowTable.SortWanted)[-1].key == "src"


async def test_sorting_by_key() -> None:
    app = Host([s.flow(i) for i in range(10)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        await pilot.press("greater_than_sign", "greater_than_sign")
        assert app.table.sort == "state" and "STATE▼" in lines(app)[1]
        await pilot.press("less_than_sign", "i")
        sorts = [(m.key, m.descending) for m in app.of(FlowTable.SortWanted)]
        assert sorts == [("proto", True), ("state", True), ("proto", True), ("proto", False)]
        assert "sort proto ▲" in lines(app)[0] and "PROTO▲" in lines(app)[1]
        app.table.action_invert()
        assert app.table.descending


async def test_what_orders_the_flows_is_on_screen() -> None:
    flows = [s.flow(i, orig_packets=1, orig_bytes=1500, reply_packets=0, reply_bytes=0) for i in range(20)]
    app = Host(flows)
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        assert "BYTES" not in lines(app)[1]
        app.table.order_by("bytes", True)
        assert lines(app)[1].split()[-2:] == ["BYTES▼", "FLAGS"] and " 1.5k unreplied " in lines(app)[2]
        app.table.order_by("newest", True)
        assert "BYTES" not in lines(app)[1]
        app.table.widths = {"packets": 5}
        app.table.order_by("packets", True)
        assert lines(app)[1].split()[-2:] == ["PACK▼", "FLAGS"]
        app.table.columns = ["src", "dst"]
        app.table.order_by("bytes", True)
        assert lines(app)[1].split() == ["SOURCE", "DESTINATION"], "chosen by hand"


async def test_another_order_leaves_the_cursor_on_its_flow() -> None:
    app = Host([s.flow(i) for i in range(200)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        await pilot.press("greater_than_sign")
        app.flows.reverse()
        app.answer()
        assert app.table.cursor == 0, "at the top it stays at the top"
        await pilot.press("ctrl+d", "ctrl+d", "ctrl+d", "ctrl+u", "down")
        under = app.table.selected
        assert under is not None and app.table.cursor == 2 * (app.table.visible_rows // 2) + 1
        at = app.table.cursor - app.table.top
        await pilot.press("i")
        app.flows.reverse()
        app.answer()
        assert app.table.selected is not None and app.table.selected.key == under.key
        assert app.table.cursor - app.table.top == at, "on its line of the screen, too"


async def test_new_changed_and_ended_flows_are_marked_and_unmarked() -> None:
    old, changing = s.flow(1), s.flow(2)
    app = Host([old, changing])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        assert [line[1] for line in lines(app)[2:]] == [" ", " "], "what was there at first is not new"
        app.now += 10
        new = s.flow(3, born_s=1.0)
        app.flows = [new, old, s.flow(2, state=3, status=ASSURED), s.flow(4, born_s=200.0, ended=True)]
        app.answer()
        assert [line[1] for line in lines(app)[2:]] == ["+", " ", "*", "-"]
        app.now += 10
        app.flows = [s.flow(3, born_s=11.0), s.flow(1, timeout_s=60), app.flows[2]]
        app.answer()
        assert [line[1] for line in lines(app)[2:]] == [" ", " ", " "]


async def test_hostile_text_is_shown_and_not_obeyed() -> None:
    app = Host([s.flow(1, helper="[bold red]\x1b[31mftp\x07[/foo]\u202e", secctx="a\nb")])
    async with app.run_test(size=(120, 6)) as pilot:
        app.table.columns = ["proto", "helper", "secctx", "nonsense"]
        assert app.table.columns == ["proto", "helper", "secctx"]
        app.table.page = s.page([])
        await begun(app, pilot)
        app.table.columns = ["secctx", "helper"]
        text = app.table.as_text()
        assert "[bold red]" in text and "a\\nb" in text
        assert all(character.isprintable() for line in lines(app) for character in line)


@pytest.mark.parametrize("width", range(78, 88))
async def test_the_arrow_to_more_columns_cuts_no_label(width: int) -> None:
    app = Host([s.flow(i) for i in range(7)])
    async with app.run_test(size=(width, 12)) as pilot:
        await begun(app, pilot)
        app.table.columns = ["proto", "state", "src", "dst", "timeout", "reply_src", "flags"]
        app.table.order_by("rsrc", True)
        header = lines(app)[1]
        assert "…" not in header and "ANSWERED BY▼" in header
        assert header.endswith("▶") is ("FLAGS" not in header)


async def test_horizontal_scrolling_reaches_every_column() -> None:
    app = Host([s.flow(1, mark=0xABC)])
    async with app.run_test(size=(60, 6)) as pilot:
        app.table.columns = ["proto", "state", "src", "dst", "timeout", "mark", "id"]
        await begun(app, pilot)
        assert "0xabc" not in app.table.as_text() and lines(app)[1].endswith("▶")
        await pilot.press("right", "right", "right")
        assert "0xabc" in app.table.as_text() and not lines(app)[1].endswith("▶")
        await pilot.press("left", "left", "left", "left")
        assert "tcp" in app.table.as_text()


async def test_the_cursor_does_not_wait_for_rows_that_are_late() -> None:
    app = Host([s.flow(i) for i in range(500)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        app.mute = True
        await pilot.press("end")
        async with asyncio.timeout(10):
            while "…" not in lines(app)[-1]:
                await pilot.pause(0.01)
        assert app.table.selected is None and app.table._lines[-1][0][1] == "cursor"
        assert all(line.strip(" …│┃") == "" for line in lines(app)[2:]), (
            "rows that are elsewhere are not shown here"
        )
        app.answer()
        assert app.table.selected is not None and ":10499" in lines(app)[-1]


async def test_where_rows_were_late_the_next_key_does_not_wait_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Host([s.flow(i) for i in range(500)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        app.mute = True
        app.table.action_last()
        assert ":1000" in app.table.as_text(), "the rows may still come in time"
        monkeypatch.setattr(flow_table, "LATE_S", 0.0)
        app.answer()
        monkeypatch.setattr(flow_table, "LATE_S", 60.0)
        app.table.action_first()
        assert app.table._lines[2][0][1] == "cursor"
        assert all(line.strip(" …│┃") == "" for line in lines(app)[2:])
        app.answer()
        assert ":10000" in lines(app)[2]
        app.table.action_last()
        assert ":10000" in lines(app)[2], "they were in time"


async def test_nobody_waits_for_rows_of_a_table_that_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Host([s.flow(i) for i in range(200)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        app.mute = True
        monkeypatch.setattr(flow_table, "LATE_S", 60.0)
        app.table.action_last()  # asked for, and never answered: another target
        app.table.clear()
        clock = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 120)
        app.answer()
        app.table.action_last()
        assert "…" not in app.table.as_text(), "as if the new target had kept a key waiting"


async def test_widths_set_by_hand_hold_and_the_others_give_way() -> None:
    app = Host([s.flow(1, src="2001:db8:1111:2222:3333:4444:5555:6666", dst="2001:db8::1")])
    async with app.run_test(size=(80, 6)) as pilot:
        table = app.table
        table.columns = ["proto", "src", "dst", "state"]
        await begun(app, pilot)
        given = table.shown_widths
        table.widths = {"dst": 30, "proto": 1, "nonsense": 9}
        assert table.widths == {"dst": 30, "proto": 3}, "known columns, none too narrow to read"
        shown = table.shown_widths
        assert shown["dst"] == 30 and shown["proto"] == 3 and shown["src"] < given["src"]
        assert sum(shown.values()) + len(shown) - 1 <= 80 - 3
        table.widths = {"src": 90}
        shown = table.shown_widths
        assert shown["dst"] == 15 and sum(shown.values()) + 3 == 80 - 3, "as wide as there is room for"
        table.widths = {}
        assert table.shown_widths == given


async def test_empty_and_wrong_filters_say_so() -> None:
    app = Host([])
    async with app.run_test(size=(80, 12)) as pilot:
        app.table.empty = ("The sandbox is empty.", "b fires 10 SYNs into it.")
        await begun(app, pilot)
        assert "The sandbox is empty." in app.table.as_text() and "b fires" in app.table.as_text()
        app.answer(error="no such key: dprot")
        assert "no such key: dprot" in app.table.as_text()
        await pilot.press("down", "end", "enter", "greater_than_sign")
        assert app.table.selected is None


async def test_repaints_nothing_or_the_cells_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Host([s.flow(i, orig_packets=1, orig_bytes=100, reply_packets=0, reply_bytes=0) for i in range(50)])
    async with app.run_test(size=(120, 20)) as pilot:
        await begun(app, pilot)
        refreshed: list[tuple[Region, ...]] = []
        monkeypatch.setattr(app.table, "refresh", lambda *regions, **kw: refreshed.append(regions))
        for _ in range(5):
            app.answer()
        assert refreshed == [], "the same again costs nothing"
        app.flows[4] = s.flow(
            4, timeout_s=118, orig_packets=1, orig_bytes=100, reply_packets=0, reply_bytes=0
        )
        app.answer()
        [regions] = refreshed
        assert len(regions) == 1 and regions[0].y == 6 and regions[0].width == 1
        assert app.table.as_text().split("\n")[6][regions[0].x] == "8"


async def test_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cells, "ascii", True)
    app = Host([s.flow(i, src="2001:db8:1234:5678:9abc:def0:1234:5678") for i in range(50)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        assert app.table.as_text().isascii() and "=1 Flows=" in lines(app)[0] and "~" in lines(app)[2]


async def test_markdown_and_resizing() -> None:
    app = Host([s.flow(i) for i in range(50)])
    async with app.run_test(size=(80, 12)) as pilot:
        await begun(app, pilot)
        rows = app.table.as_markdown().split("\n")
        assert (
            rows[0].startswith("| PROTO | STATE |")
            and "| 198.51.100.2:10000 |" in rows[2]
            and len(rows) == 2 + 10
        )
        await pilot.press("end")
        for size in ((40, 6), (200, 60), (20, 3), (80, 12)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert len(lines(app)) <= size[1] and all(width_of(line) <= size[0] for line in lines(app))
        assert app.table.cursor == 49 and ":10049" in app.table.as_text()


def test_content_gives_way_after_what_columns_leave_over() -> None:
    columns = [BY_ID[name] for name in NARROW]
    udp = {"proto": 3, "state": 0, "src": 19, "dst": 13, "timeout": 3, "flags": 14}
    assert shares(columns, udp, {}, 70) == [5, 5, 19, 15, 7, 14], "unreplied dnat, whole"
    assert shares(columns, udp | {"state": 11}, {}, 70)[2:] == [19, 13, 7, 10], "addresses last"
