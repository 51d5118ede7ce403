"""The dashboard on recordings of real runs: what a person sees after which key."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual import events
from textual.widgets import Input

from cttui.client.config import override, parse
from cttui.ui.bars import KeyBar
from cttui.ui.dialogs import Button, Buttons, Confirm, Menu
from cttui.ui.fields import Field
from cttui.ui.layouts import layout_for
from cttui.ui.rows import Rows
from cttui.ui.session import Phase

Play = Callable[..., Any]
SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.mark.parametrize("size", SIZES)
async def test_ten_syns(play: Play, size: tuple[int, int]) -> None:
    async with play("ten-syns", size) as d:
        await d.until("fire the recorded burst")
        assert "The recorded table is empty." in d.text
        await d.press("b")
        await d.until("new 10 SYN_SENT")
        await d.until("SYN_SENT 10")
        text = d.text
        assert "sent 10 · raw +10 · mangle +10 · new 10 SYN_SENT" in text
        assert "198.51.100.2:10009" in text and "192.0.2.1:80" in text
        assert "10 / 262,144" in text
        assert "[S]" in text, "the packet log"
        assert "raw" in text and "mangle" in text, "the hooks"
        assert "lost" not in text.split("Packets")[0].split("Hooks")[0], "a rule's own drops are no alarm"


@pytest.mark.parametrize("size", SIZES)
async def test_full_table(play: Play, size: tuple[int, int]) -> None:
    async with play("full", size, free=7) as d:
        await d.until("7 free")
        await d.until("262,137 fillers" if size[0] < 100 else "fillers")
        await d.press("b")
        await d.until("drop +3")
        text = d.text
        assert "sent 10 · raw +10 · mangle +7 · new 7 SYN_SENT · drop +3" in text
        assert "3 packets lost in conntrack: table full" in text
        assert "FULL" in text and "0 free" in text
        await d.press("f4")
        await d.until("The table is full: 262,144 of 262,144.")
        await d.press("escape")
        await d.press("v")
        await d.until("What the burst did")
        assert "+7" in d.text and "drop      +3" in d.text


async def test_everything_at_the_first_look(play: Play) -> None:
    """At 80×24, without a key: is the table filling, with what, is anything lost."""
    async with play("full", (80, 24), free=7) as d:
        await d.until("ESTABLISHED 262,137")
        for word in (
            "7 free",
            "nearly full",
            "drop",
            "ESTABLISHED 262,137",
            "assured 262,137",
            "1 Flows",
            "2 Hooks",
            "3 Packets",
            "SANDBOX",
            "netns",
        ):
            assert word in d.text, word
        assert all(len(line) <= 80 for line in d.text.splitlines())


async def test_detail_of_a_flow(play: Play) -> None:
    async with play("ten-syns", (100, 40)) as d:
        await d.until("fire the recorded burst")
        await d.press("b")
        await d.until("198.51.100.2:10009")
        await d.press("enter")
        await d.until("nf_conntrack_tcp_timeout_syn_sent")
        assert "192.0.2.1:80  →  198.51.100.2:10009" in d.text
        assert "none: the reply is the original turned round" in d.text
        assert "conntrack -D -p tcp -s 198.51.100.2" in d.text
        await d.press("escape")
        await d.until("1 Flows")


async def test_freeze_holds_the_picture(play: Play) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        await d.press("space")
        await d.until("FROZEN", asking=False)
        before = d.text
        asked = d.app.session.link._seq
        await d.until(lambda: d.app.session.link._seq > asked + 5)
        assert d.text == before
        asked = d.app.session.link._seq
        await d.press("space")
        await d.until(lambda: d.app.session.link._seq > asked)
        assert "FROZEN" not in d.text


async def test_unfocused_is_said_and_slow(play: Play) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        d.app.session.focus(False)
        await d.until("unfocused", asking=False)
        asked = d.app.session.link._seq
        await d.pilot.pause(1.3)
        assert d.app.session.link._seq <= asked + 1
        d.app.session.focus(True)
        await d.until(lambda: "unfocused" not in d.text)


async def test_panels_by_number_and_maximised(play: Play) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        await d.press("2")
        assert d.app.dashboard.panel == "hooks" and "1 Flows" in d.text
        await d.press("2")
        assert "1 Flows" not in d.text and "2 Hooks" in d.text
        await d.press("escape")
        assert "1 Flows" in d.text and "3 Packets" in d.text
        await d.press("4")
        assert "What fills the table" in d.text and "1 Flows" not in d.text
        await d.press("5")
        assert "Statistics" in d.text and "What fills the table" not in d.text
        await d.press("z")
        assert "1 Flows" in d.text
        await d.press("z")
        assert "2 Hooks" not in d.text


async def test_a_number_pressed_twice_before_the_first_has_taken_effect(play: Play) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        for _ in range(2):
            d.app.post_message(events.Key("2", "2"))
        await d.until(lambda: "2 Hooks" in d.text and "1 Flows" not in d.text)


async def test_focus_goes_round_the_visible_panels(play: Play) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        seen = []
        for _ in range(4):
            seen.append(d.app.dashboard.panel)
            await d.press("tab")
        assert seen == ["flows", "hooks", "packets", "flows"]


async def test_filter_is_judged_as_it_is_typed(play: Play) -> None:
    async with play("ten-syns", (100, 30)) as d:
        await d.until("fire the recorded burst")
        await d.press("slash", *"dpotr=80")
        await d.until("Did you mean dport?", asking=False)
        lines = d.text.splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith(" / dpotr=80"))
        assert lines[at + 1].index("^") == lines[at].index("dpotr")
        assert d.app.view.filter == ""
        await d.press(*["backspace"] * 8, *"tcp unre")
        await d.until("Tab  unreplied", asking=False)
        assert "is no word" not in d.text, "the beginning of a word is no mistake"
        assert d.app.view.filter.strip() == "tcp"
        await d.press("space")
        await d.until("'unre' is no word of the filter language. Did you mean unreplied?", asking=False)
        await d.press(*["backspace"] * 9, *"dport=80")
        assert d.app.view.filter == "dport=80"
        await d.press("enter")
        assert d.app.dashboard.panel == "flows"
        assert "filter in cttui: dport=80" in d.text
        await d.press("slash", "x")
        await d.press("escape")
        assert d.app.view.filter == "dport=80"
        await d.press("escape")
        assert d.app.view.filter == ""


async def test_the_last_line_offers_what_a_filter_takes(play: Play) -> None:
    async with play("ten-syns", (80, 24)) as d:
        await d.until("fire the recorded burst")
        await d.press("slash")
        last = d.text.split("\n")[-1]
        assert " ".join(last.split()) == "Enter keep it Esc take it back Tab complete ↑ an earlier one"
        await d.press("b")
        assert "/ b" in d.text and d.app.dashboard.burst is None
        await d.pilot.click(KeyBar, offset=(last.index("Esc"), 0))
        await d.pilot.pause()
        assert "b burst" in d.text.split("\n")[-1] and d.app.dashboard.panel == "flows"


async def test_a_filter_typed_faster_than_it_opens(play: Play) -> None:
    """A terminal gives what is typed or pasted behind `/` in one read: no letter of it is a command."""
    async with play("ten-syns", (80, 24)) as d:
        await d.until("fire the recorded burst")
        for key in ("slash", *"dport", "equals_sign", *"22t"):
            d.app.post_message(events.Key(key, {"equals_sign": "=", "slash": "/"}.get(key, key)))
        await d.until("dport=22t", asking=False)
        assert len(d.app.screen_stack) == 1, "neither a question about deleting nor the settings"


async def test_filter_completes_and_remembers(play: Play) -> None:
    async with play("ten-syns", (100, 30), remember=True) as d:
        await d.until("fire the recorded burst")
        await d.press("slash", *"unr", "tab", "enter")
        assert d.app.view.filter == "unreplied"
        await d.press("escape", "slash", "up")
        await d.press("enter")
        assert d.app.view.filter == "unreplied"


async def test_sort_group_columns(play: Play) -> None:
    async with play("ten-syns", (100, 30)) as d:
        await d.until("fire the recorded burst")
        await d.press("s", *"time", "enter")
        assert d.app.view.sort == "timeout" and "sort timeout" in d.text
        await d.press("g")
        menu = d.app.screen.query_one(Menu)
        menu.go(next(i for i, e in enumerate(menu.entries) if e.id == "dport"))
        await d.press("enter")
        assert d.app.view.group_by == ["dport"] and d.app.dashboard.panel == "groups"
        await d.press("g")
        menu = d.app.screen.query_one(Menu)
        for key in ("src", "state", "dport", "state"):
            menu.go(next(i for i, e in enumerate(menu.entries) if e.id == key))
            await d.press("space")
        assert menu.chosen == ["src", "dport"]
        await d.press("enter")
        assert d.app.view.group_by == ["src", "dport"]
        await d.press("escape", "1", "c")
        menu = d.app.screen.query_one(Menu)
        menu.go(next(i for i, e in enumerate(menu.entries) if e.id == "mark"))
        await d.press("space", "enter")
        assert "mark" in d.app.dashboard.flows.columns


async def test_a_recording_refuses_what_it_did_not_record(play: Play) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        await d.press("w")
        await d.until("This is a recording")
        await d.press("h")
        await d.until("only this one target")


async def test_a_recording_goes_on_with_whatever_was_done_next(play: Play) -> None:
    async with play("full") as d:
        await d.until("No packets up to here in the recording.")
        assert "b fill the table" in d.text and "Enter detail" not in d.text
        await d.press("f")
        await d.until("There are no fillers here.", asking=False)
        await d.press("b")
        await d.until("b burst")
        await d.until("7 free")
        await d.press("b")
        await d.until("drop +3")
        assert "b burst" not in d.text and "No packets" not in d.text
        assert "Enter detail" in d.text, "there are flows now"


async def test_the_last_line_names_the_way_back(play: Play) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        assert "Esc back" not in d.text
        await d.press("z")
        await d.until("Esc back", asking=False)
        await d.press("escape")
        await d.until(lambda: "Esc back" not in d.text, asking=False)
        await d.press("slash", *"tcp", "enter")
        await d.until("Esc back", asking=False)
        await d.press("escape")
        await d.until(lambda: "Esc back" not in d.text, asking=False)


async def test_dialogs_close_with_escape(play: Play) -> None:
    async with play("ten-syns", (80, 24)) as d:
        await d.until("fire the recorded burst")
        for key, title in (("question_mark", "Help"), ("t", "Settings of this sandbox"), ("B", "Compose a burst"),
                           ("y", "Copy"), ("f2", "Colours"), ("T", "ten-syns"), ("ctrl+p", "")):  # fmt: skip
            await d.press(key)
            await d.until(title, asking=False)
            assert len(d.app.screen_stack) == 2, key
            await d.press("escape")
            await d.until(lambda: len(d.app.screen_stack) == 1, asking=False)


async def test_q_closes_what_is_over_the_dashboard(play: Play) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        for key, title in (("question_mark", "Help"), ("t", "Settings of this sandbox"), ("y", "Copy"),
                           ("f2", "Colours"), ("g", "Group flows by"), ("c", "Columns of the flows"),
                           ("T", "ten-syns"), ("J", "This recording holds no journeys")):  # fmt: skip
            await d.press(key)
            await d.until(title, asking=False)
            assert len(d.app.screen_stack) == 2, key
            await d.press("q")
            await d.until(lambda: len(d.app.screen_stack) == 1, asking=False)
        assert not d.app._exit


@pytest.mark.parametrize("key", ["q", "n", "escape", "enter", "y"])
async def test_only_its_own_key_says_yes(play: Play, key: str) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        answers: list[str | None] = []
        question = Confirm("Sure?", ["Something."], [Button("yes", "y", "do it")])
        d.app.push_screen(question, answers.append)
        await d.until("Sure?", asking=False)
        await d.press(key)
        assert answers == {"y": ["yes"], "enter": []}.get(key, [None])


async def test_q_in_a_field_is_a_letter(play: Play) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        await d.press("slash", "q")
        assert d.app.query_one("#filter-field", Field).value == "q"
        await d.press("escape", "B")
        await d.until("Compose a burst", asking=False)
        await d.press("q")
        assert len(d.app.screen_stack) == 2


async def test_the_palette_finds_by_name_id_key_and_help(play: Play) -> None:
    async with play("ten-syns", (100, 30)) as d:
        await d.until("fire the recorded burst", asking=False)
        for typed, found in (("freeze", "freeze  (space)"), ("rule-order", "order  (o)"), ("F4", "explain  (F4)"),
                             ("big digits", "presenter  (F9)"), ("rate lower", "slower  (-)")):  # fmt: skip
            await d.press("ctrl+p")
            d.app.screen.query_one(Input).value = typed  # at once: its beginnings match too
            await d.until(found, asking=False)
            await d.press("escape")
            await d.until(lambda: len(d.app.screen_stack) == 1, asking=False)
        await d.press("ctrl+p", *"maximise")
        await d.until("maximise  (z)", asking=False)
        await d.press("enter")
        await d.until(lambda: d.app.dashboard.zoomed == "flows", asking=False)


async def test_one_heading_shows_the_focus_though_nothing_else_changes(play: Play) -> None:
    def heavy() -> list[str]:
        panels = {"1 Flows": "flows", "4 What": "groups", "2 Hooks": "hooks", "5 Stat": "statistics"}
        return [panel for name, panel in panels.items() if f"━{name}" in d.text]

    async with play("ten-syns", (120, 40)) as d:
        await d.until("fire the recorded burst")
        await d.press("b")
        await d.until("SYN_SENT")
        await d.until(lambda: d.app.dashboard.groups.selected is not None)
        for keys, panel in ((("4",), "groups"), (("enter",), "flows"), (("g", "enter"), "groups"),
                            (("tab",), "statistics"), (("shift+tab",), "groups"), (("1",), "flows")):  # fmt: skip
            await d.press(*keys)
            await d.until(lambda panel=panel: d.app.dashboard.panel == panel, asking=False)
            assert heavy() == [panel], keys


async def test_help_explains_the_panel_in_focus(play: Play) -> None:
    async with play("ten-syns", (100, 50)) as d:
        await d.until("fire the recorded burst")
        await d.press("3", "f1")
        await d.until("a log as tcpdump writes it", asking=False)
        assert "Follow the newest" in d.text


async def test_what_is_offered_can_be_clicked(play: Play) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        at = d.text.splitlines()[-1].index("? help")
        await d.pilot.click(KeyBar, offset=(at, 0))
        await d.until("Keys of this panel", asking=False)
        await d.pilot.click(Buttons, offset=(1, 0))
        await d.until("fire the recorded burst", asking=False)


async def test_quit(play: Play) -> None:
    async with play("ten-syns") as d:
        await d.until("fire the recorded burst")
        await d.press("q")
        await d.until(lambda: d.app._exit, asking=False)


@pytest.mark.parametrize("size", [(30, 8), (40, 10), (60, 16), (79, 23)])
async def test_small_terminals(play: Play, size: tuple[int, int]) -> None:
    async with play("ten-syns", size) as d:
        if size == (30, 8):
            await d.until("too small")
        else:
            await d.until("1 Flows")
            assert "table" in d.text


async def test_resizing_through_every_layout(play: Play) -> None:
    async with play("ten-syns", (80, 24)) as d:
        await d.until("fire the recorded burst")
        for size in ((200, 60), (30, 8), (120, 40), (80, 24), (200, 60)):
            await d.pilot.resize_terminal(*size)
            await d.pilot.pause()
            assert d.app.dashboard._layout_name == layout_for(*size)
        await d.until("Detail")
        assert d.app.focused is not None


async def test_the_host_is_quiet_until_asked(play: Play) -> None:
    async with play("host", (80, 24)) as d:
        await d.until("HOST")
        await d.until("The packet log was off up to here")
        assert "switches it on" not in d.text, "not in a recording"
        assert "burst" not in d.text.splitlines()[-1]
        await d.press("b")
        await d.until("into a sandbox only")


async def test_presenter_mode(play: Play) -> None:
    async with play("ten-syns", (100, 30)) as d:
        await d.until("fire the recorded burst")
        await d.press("f9", "b")
        await d.until("b  burst")
        await d.until("free slots")
        assert "▀" in d.text


async def test_reading_only_what_is_shown(play: Play) -> None:
    async with play("ten-syns", (80, 24)) as d:
        await d.until("fire the recorded burst")
        ask = d.app.dashboard.question(1)
        assert ask.groups == [] and ask.packets is not None and ask.hooks is not None and not ask.tunables
        await d.press("1")
        ask = d.app.dashboard.question(2)
        assert ask.packets is None and ask.flows is not None
        assert ask.hooks is not None and ask.hooks.rules_per_chain == 0, "losses are told on every screen"
        assert d.app.session.state.phase is Phase.LIVE


async def test_a_key_before_a_hurried_answer_does_not_make_it_a_whole_one(play: Play) -> None:
    async with play("full", (120, 40), free=7) as d:
        await d.until("7 free")
        await d.press("b")
        await d.until("3 packets lost in conntrack")
        dashboard = d.app.dashboard
        whole = dashboard.answer
        wanted = Rows.WindowWanted(dashboard.flows)
        dashboard._whole_at = time.monotonic()
        dashboard.on_rows_window_wanted(wanted)
        ask = dashboard.question(7_000)
        assert ask.flows is not None and ask.hooks is None, "a key waits for rows: for these alone is asked"
        dashboard.on_rows_window_wanted(wanted)
        dashboard.heard(msgspec.structs.replace(whole, seq=ask.seq, hooks=None, jobs=[]))
        assert dashboard.answer is whole
        assert "3 packets lost in conntrack" in d.text


async def test_the_tour_fires_and_explains(play: Play) -> None:
    async with play("ten-syns", (80, 24), tour=True) as d:
        await d.until("1 of 5")
        await d.press("enter")
        await d.until("2 of 5")
        await d.until(lambda: "mangle +10" in d.text and "198.51.100.2:10009" in d.text)
        await d.press("escape")
        await d.until(lambda: len(d.app.screen_stack) == 1)


async def test_opening_on_a_tale_for_a_room(play: Play) -> None:
    async with play("ten-syns", (120, 40), tale="table-full", present=True) as d:
        await d.until("Seven slots for ten SYNs")
        await d.until("▀")  # big digits
        assert "free slots" in d.text
        await d.press("f9")
        await d.until(lambda: "▀" not in d.text)
        await d.press("escape")
        await d.until("1 Flows")


async def test_columns_and_order_are_remembered(play: Play) -> None:
    """What was chosen is there the next time; the program's own choice comes back with Backspace."""
    async with play("ten-syns", (120, 40), remember=True) as d:
        await d.until("fire the recorded burst")
        await d.press("c")
        menu = d.app.screen.query_one(Menu)
        menu.go(next(i for i, e in enumerate(menu.entries) if e.id == "zone"))
        await d.press("space", "K")
        menu.go(next(i for i, e in enumerate(menu.entries) if e.id == "src"))
        await d.press("less_than_sign", "less_than_sign")
        narrow = d.app.dashboard.flows.shown_widths["src"] - 2
        assert f"  {narrow}  " in d.text
        menu.go(next(i for i, e in enumerate(menu.entries) if e.id == "dst"))
        await d.press("greater_than_sign", "equals_sign", "enter")
        chosen = d.app.dashboard.flows.columns
        assert d.app.dashboard.flows.widths == {"src": narrow}
        assert d.app.dashboard.flows.shown_widths["src"] == narrow and "198.51.100.2:10009 " not in d.text
        await d.press("s", *"time", "enter")
    async with play("ten-syns", (120, 40), remember=True) as d:
        await d.until("fire the recorded burst")
        await d.until(lambda: "zone" in d.app.dashboard.flows.columns)
        assert d.app.dashboard.flows.columns == chosen
        assert d.app.dashboard.flows.widths == {"src": narrow}
        assert d.app.view.sort == "timeout"
        await d.press("c", "backspace")
        await d.until(lambda: d.app.dashboard.flows.widths == {}, asking=False)
        await d.until(lambda: "zone" not in d.app.dashboard.flows.columns, asking=False)


async def test_a_flag_wins_over_what_is_remembered_and_that_over_the_file(play: Play) -> None:
    file = parse('theme = "paper"\n[flows]\nsort = "bytes"', Path("config.toml"))
    async with play("ten-syns", remember=True, config=file) as d:
        await d.until("fire the recorded burst")
        assert (d.app.theme, d.app.view.sort) == ("paper", "bytes")
        await d.press("s", *"time", "enter")
        await d.press("f2", *"light", "enter")
        await d.until(lambda: d.app.theme == "light" and d.app.view.sort == "timeout", asking=False)
    async with play("ten-syns", remember=True, config=file) as d:
        assert (d.app.theme, d.app.view.sort) == ("light", "timeout")
    flags = override(file, ["theme=dark", "flows.sort=packets"])
    async with play("ten-syns", remember=True, config=flags) as d:
        assert (d.app.theme, d.app.view.sort) == ("dark", "packets")


async def test_dialogs_are_ascii_without_unicode(play: Play) -> None:
    async with play("ten-syns", (80, 24), term="linux") as d:
        await d.until("fire the recorded burst")
        for key in ("question_mark", "t", "y", "T"):
            await d.press(key)
            await d.until(lambda: len(d.app.screen_stack) == 2, asking=False)
            assert d.text.isascii(), key
            await d.press("escape")


async def test_presets_are_whole_words_and_explained(play: Play) -> None:
    async with play("ten-syns", (80, 24)) as d:
        await d.until("fire the recorded burst")
        await d.press("B")
        await d.until("Compose a burst")
        await d.press("shift+tab", "shift+tab", "down", "down")
        assert "syn-flood6" not in d.text and "fragments" in d.text
        assert "10,000 SYN from random sources and ports, at full speed" in d.text
        below = d.text.split("\n", 2)[2]
        assert "…" not in below, "no name, no label of a field is cut; the line above scrolls"
        await d.pilot.resize_terminal(200, 60)
        await d.until("10 stray ACK: picked up as ESTABLISHED, or INVALID, by nf_conntrack_tcp_loose")


async def test_what_can_be_typed_is_not_cut(play: Play) -> None:
    async with play("ten-syns", (80, 24)) as d:
        await d.until("fire the recorded burst")
        await d.press("slash")
        await d.until("src=10.0.0.0/8")
        [said] = [line for line in d.text.split("\n") if "src=10.0.0.0/8" in line]
        assert said.startswith("   src=") and said.endswith(" nat  not…"), said
