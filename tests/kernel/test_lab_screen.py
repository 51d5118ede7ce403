"""The lab as a teacher and a student use it: tales step by step, and bursts composed, on a real sandbox."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from live import Live, live

from cttui.client import targets
from cttui.lab.tales import ALL
from cttui.ui.composer import Composer
from cttui.ui.dialogs import Menu
from cttui.ui.fields import Field
from cttui.ui.lab import TaleScreen
from cttui.ui.prose import Prose

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
SIZES = [(80, 24), (120, 40), (200, 60)]


async def _open(d: Live, name: str) -> TaleScreen:
    await d.press("T")
    await d.until("The story")
    d.app.screen.query_one(Menu).go([tale.name for tale in ALL].index(name))
    await d.press("enter")
    await d.until(lambda: isinstance(d.app.screen, TaleScreen))
    screen = d.app.screen
    assert isinstance(screen, TaleScreen)
    return screen


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_a_tale_step_by_step(size: tuple[int, int]) -> None:
    """Each prediction is on screen, whole, before its step; then what was measured; then what it means."""
    async with live(targets.sandbox(), size) as d:
        screen = await _open(d, "raw-vs-tun")
        await d.until("r run  n step by step")
        assert "1 A SYN by a raw socket on lo" in d.text, "the table begins at its beginning"
        for number, (step, whats) in enumerate(
            [
                ("A SYN by a raw socket on lo", ("mangle POSTROUTING", "new entries")),
                ("The same SYN through the device", ("mangle POSTROUTING", "new entries")),
                ("Raw socket again", ("dropped by the rule in INPUT", "new entries")),
                ("Device again", ("dropped by the rule in INPUT", "new entries")),
            ],
            1,
        ):
            await d.press("n")
            await d.until(f"Step {number} of 4: {step}")
            await d.until("n next step")
            assert all(what in d.text for what in whats)
            assert len(re.findall(r"\d+ ✓", d.text)) == 0 if number == 1 else "✓" in d.text
        await d.press("n")
        await d.until("Everything as predicted")
        assert screen.telling.outcome is not None and screen.telling.outcome.ok
        assert ("In production", "heading") in screen.query_one("#story", Prose).paragraphs
        await d.press("R")
        await d.until("r run  n step by step")
        assert "✓" not in d.text
        await d.press("escape", "escape")
        await d.until("1 Flows")


async def test_run_at_once_and_play_on() -> None:
    """After `p` the dashboard stands on the tale's sandbox: its flows are there, and a burst adds to them."""
    async with live(targets.sandbox(), (80, 24)) as d:
        await _open(d, "ten-syns")
        await d.press("r")
        await d.until("Everything as predicted")
        await d.press("p")
        await d.until("1 Flows")
        await d.until("198.51.100.2:10009")
        await d.press("b")
        await d.until("sent 10")


async def test_a_room_sees_the_step_as_a_caption() -> None:
    async with live(targets.sandbox(), (120, 40)) as d:
        await _open(d, "conntrack-by-use")
        await d.press("f9", "n")
        await d.until("Step 1 of 3: Without any rule that refers to conntrack. Predict first.")
        assert re.search(r"\bn:? +step by step", d.text) and "▀" in d.text
        await d.press("f9")
        await d.until(lambda: "Predict first." not in d.text)
        await d.press("r")
        await d.until("Everything as predicted")


async def test_a_room_predicts_before_it_reads() -> None:
    """Presenter mode tells neither in the list nor in the table what comes out, until the step runs."""
    async with live(targets.sandbox(), (120, 40)) as d:
        await d.press("T")
        await d.until("every hook sees all of them")
        await d.press("f9")
        await d.until(lambda: "every hook sees all of them" not in d.text)
        await d.press("enter", "n")
        await d.until("Predict first.")
        assert re.search(r"new entries in SYN_SENT +\?$", d.text, re.MULTILINE)
        await d.press("n")
        await d.until(lambda: re.search(r"new entries in SYN_SENT +10 +10 ✓", d.text) is not None)


async def test_in_a_large_font_digits_and_explanation_have_the_room() -> None:
    async with live(targets.sandbox(), (80, 24), tale="ten-syns", present=True) as d:
        await d.until("r run  n step by step")
        await d.press("r")
        await d.until("Everything as predicted")
        assert "In production" in d.text and "▀" in d.text and "dropped by conntrack (drop)" in d.text
        assert "Hooks" not in d.text


async def test_a_key_is_called_what_it_does_at_each_point_of_a_tale() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        await _open(d, "conntrack-by-use")
        await d.press("f9")
        await d.until("r run  n step by step  F9 presenter")
        await d.press("n")
        await d.until("Step 1 of 3")
        await d.until("n next step  r run the rest")
        await d.press("r")
        await d.until("pressed r: run the rest")
        await d.until("r again  n step by step", 60.0)
        assert "pressed r" in d.text and "pressed r:" not in d.text, "it is for something else now"
        await d.press("escape")
        await _open(d, "ten-syns")
        await d.press("n")
        await d.until("A fresh sandbox?")
        await d.press("y")
        await d.until("n next step")
        assert "run the rest" not in d.text, "nothing is left behind the only step"


async def test_pressed_again_while_a_sandbox_starts() -> None:
    """The screen says that it waits, and a second press neither asks again nor begins twice."""
    async with live(targets.sandbox(), (80, 24)) as d:
        await d.press("b")
        await d.until("new 10 SYN_SENT")
        screen = await _open(d, "ten-syns")
        await d.press("n")
        await d.until("A fresh sandbox?")
        await d.press("y", "n", "n")
        await d.until("Waiting for a fresh sandbox")
        await d.until("n next step")
        assert d.app.screen is screen and "Fire ten SYNs" in d.text
        await d.press("r")
        await d.until("Everything as predicted")
        await d.press("r", "r")
        await d.until("Waiting for a fresh sandbox")
        await d.until("Everything as predicted")


@pytest.mark.timeout(600)
@pytest.mark.fills
async def test_after_a_tale_the_last_burst_is_its_own() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        await d.press("b")
        await d.until("new 10 SYN_SENT")
        await _open(d, "stray-ack-strict")
        await d.press("r", "y")
        await d.until("Everything as predicted", 60.0)
        await d.press("f4")
        await d.until("Explained")
        assert "invalid" in d.text
        await d.press("escape", "p")
        await d.until("1 Flows")
        await d.until("invalid +10")
        await d.press("R", "y")
        await d.until("fire 10 SYNs")
        assert "invalid +10" not in d.text, "it was another sandbox's"


@pytest.mark.timeout(600)
@pytest.mark.fills
async def test_a_fill_is_not_told_as_a_burst() -> None:
    limit = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    async with live(targets.sandbox(), (80, 24)) as d:
        await d.until("fire 10 SYNs")
        await d.app.probe_actions.fill(limit - 100)
        await d.until(f"100 of {limit:,} slots taken")
        await d.press("v")
        await d.until(f"▌ 100 of {limit:,} slots taken")
        assert "packets in" not in d.text
        await d.press("f4")
        await d.until("Explained")
        assert "How far to trust" in d.text and "The last burst" not in d.text


async def test_help_is_of_the_screen_one_is_on() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        await _open(d, "ten-syns")
        await d.press("question_mark")
        await d.until("A tale: predicted and measured")
        assert "Keep the sandbox and play on" in d.text and "Sort by" not in d.text
        await d.press("escape", "J", "f1")
        await d.until("Journeys: packets × stages")


@pytest.mark.timeout(600)
@pytest.mark.fills
async def test_the_tour_to_its_end() -> None:
    """Each caption leaves what it speaks of in view, and says what goes on while one waits."""
    async with live(targets.sandbox(), (80, 24), tour=True) as d:
        await d.until("1 of 5")
        await d.until("raw 0 ──▶ conntrack 0")
        await d.press("b")
        await d.until("firing…")
        await d.until("2 of 5")
        await d.until("raw 10 ──▶ conntrack 10")
        assert "198.51.100.2:10009" in d.text
        await d.press("b")
        assert "2 of 5" in d.text, "b fires, and here nothing is to be fired"
        await d.press("enter", "enter")
        await d.until("filling a fresh sandbox…")
        await d.until("3 of 5", 60.0)
        await d.press("enter")
        await d.until("4 of 5")
        await d.until("conntrack 7 (−3 table full)")
        assert "new 7 SYN_SENT" in d.text
        await d.press("n")
        await d.until("5 of 5")
        await d.press("enter")
        await d.until("3 Packets")


async def test_keys_that_the_dashboard_offers_during_the_tour_work() -> None:
    async with live(targets.sandbox(), (80, 24), tour=True) as d:
        await d.until("1 of 5")
        await d.press("enter")
        await d.until("2 of 5")
        for key, shown in (("v", "What the burst did"), ("f4", "Explained"), ("J", "Packets × stages")):
            await d.press(key)
            await d.until(shown)
            await d.press("escape")
            await d.until("2 of 5")
        await d.press("v")
        await d.until("J  each packet's way")
        await d.press("J")
        await d.until("Packets × stages")
        await d.press("escape")
        await d.until("2 of 5")


async def test_leaving_stops_a_tale() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        await _open(d, "policy-counters")
        await d.press("n")
        await d.until("n next step")
        await d.press("escape", "escape")
        await d.until("1 Flows")
        await _open(d, "ten-syns")
        await d.press("r")
        await d.until("Everything as predicted")


UNHEARD = 'IP(src="198.51.100.2",dst="192.0.2.1")/UDP(sport=(20000,20009),dport=9999)/"cttui"'


@pytest.mark.parametrize(
    ("size", "keys"), [((80, 24), ("J", "escape")), ((80, 24), ("1",)), ((80, 18), ())], ids=str
)
async def test_a_loss_is_told_where_no_hooks_are_on_screen(
    size: tuple[int, int], keys: tuple[str, ...]
) -> None:
    """After the journeys, with the flows maximised, in a terminal too small for the hooks."""
    async with live(targets.sandbox(), size) as d:
        await _compose(d, line=UNHEARD)
        await d.press("enter")
        await d.until("sent 10")
        if keys:
            await d.press(*keys)
            await d.until(lambda: d.app.screen is d.app.dashboard)
        for _ in range(4):  # answers that asked for other parts
            d.app.session.poke()
            await d.pilot.pause(0.3)
        await d.press("f4")
        await d.until("Explained")
        assert "10 packets were refused: no socket on that port" in d.text


# ------------------------------------------------------------ the composer


async def _type(d: Live, field: str, text: str) -> None:
    d.app.screen.query_one(f"#{field}", Field).value = text
    d.app.screen.query_one(f"#{field}", Field).focus()
    await d.pilot.pause()


async def _compose(d: Live, **fields: str) -> None:
    await d.press("B")
    await d.until(lambda: isinstance(d.app.screen, Composer))
    for field, text in fields.items():
        await _type(d, field, text)


def _result(d: Live) -> Any:
    job = d.app.dashboard.burst
    return job.result if job is not None and job.kind == "fire" and job.state == "done" else None


FLOOD = 'IP(src=RandIP("198.18.0.0/15"),dst="192.0.2.1")/TCP(sport=RandNum(1024,65535),dport=80,flags="S")'


async def test_a_random_burst_can_be_repeated_exactly() -> None:
    async with live(targets.sandbox(), (120, 40)) as d:
        seen = []
        seed = "random"
        for _ in range(2):
            await _compose(d, line=FLOOD, count="20", rate="0", seed=seed)
            assert "other packets each time" in d.text
            await d.press("enter")
            await d.until(lambda: _result(d) is not None and _result(d).new == 20)
            seen.append(sorted((flow.orig_src, flow.orig_sport) for flow in _result(d).new_flows))
            await d.press("v")
            await d.until("What the burst did")
            seed = re.search(r"seed\s+(\d+)", re.sub(r"[│\s]+", " ", d.text))[1]  # type: ignore[index]
            await d.press("escape")
            await d.app.session.restart()
            await d.until(
                lambda: d.app.dashboard.answer is not None and d.app.dashboard.answer.table.count == 0
            )
            d.app.dashboard.burst = None
        assert seen[0] == seen[1] and len(set(seen[0])) == 20


async def test_seconds_are_packets_at_a_rate() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        await _compose(d, count="0.5s", rate="40")
        await d.until("20 × TCP SYN")
        await _type(d, "rate", "0")
        await d.until("seconds need a rate")
        await d.press("enter")
        assert isinstance(d.app.screen, Composer), "what is wrong is not fired"
        await _type(d, "rate", "40")
        await d.press("enter")
        await d.until(lambda: _result(d) is not None)
        assert _result(d).sent == 20


async def test_the_form_writes_the_line_and_a_saved_burst_comes_back() -> None:
    async with live(targets.sandbox(), (120, 40)) as d:
        await _compose(d)
        form = d.app.screen.query_one("#form")
        form.focus()
        form.go(next(i for i, row in enumerate(form._rows) if row[2] == "TCP destination port"))  # type: ignore[attr-defined]
        await d.press("enter")
        await d.until("1000-2000 a range")
        await d.press("backspace", "backspace", *"443", "enter")
        await d.until("dport=443")
        await d.press("ctrl+s")
        await d.until("Save this burst as")
        await d.press(*"https", "enter")
        await d.until("https")
        await _type(d, "line", "IP()/ICMP()")
        await d.until("ICMP echo request")
        menu = d.app.screen.query_one("#presets", Menu)
        menu.focus()
        menu.go(0)
        await d.press("enter")
        await d.until("dport=443")
        await d.press("delete")
        await d.until(lambda: "https" not in d.text)
        assert d.app.memory.bursts == {}


async def test_enter_is_called_what_it_does() -> None:
    """It fires from a field and takes a preset in the list, from which F5 fires."""
    async with live(targets.sandbox(), (80, 24)) as d:
        await _compose(d)
        await d.until("Enter  fire")
        await d.press("down", "down")
        await d.until("Enter  take")
        assert "F5  fire" in d.text and "Esc  close" in d.text
        await d.press("enter")
        await d.until("10 × TCP ACK")
        await d.press("tab")
        await d.until("Enter  change")
        await d.press("f5")
        await d.until("new 10 ESTABLISHED")


async def test_what_is_wrong_is_said_under_its_column() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        await _compose(d, line='IP(dst="192.0.2.1")/TCP(dport=nonsense())')
        await d.until("^")
        mark = next(line for line in d.text.splitlines() if "^" in line)
        line = next(line for line in d.text.splitlines() if "nonsense" in line and "^" not in line)
        assert line.index("nonsense") == mark.index("^")


UNKNOWN_FIELD = 'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),foo=3,flags="S")'


async def test_a_mistake_that_scapy_knows_replaces_the_preview_while_one_types() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        await _compose(d, line=UNKNOWN_FIELD)
        await d.until("TCP has no field foo. ^")
        mark = next(line for line in d.text.splitlines() if "^" in line)
        line = next(line for line in d.text.splitlines() if "foo=3" in line)
        assert line.index("foo=3") + len("foo=") == mark.index("^")
        assert "10 × TCP" not in d.text and "edit the l" not in d.text
        await d.press("enter")
        await d.pilot.pause(0.3)
        assert isinstance(d.app.screen, Composer) and "no field foo" in d.text
        await d.press("home")
        await d.until("TCP has no field foo. ^")
        mark = next(line for line in d.text.splitlines() if "^" in line)
        line = next(line for line in d.text.splitlines() if "foo=3" in line)
        assert line.index("foo=3") + len("foo=") == mark.index("^"), "the mark follows the line as it scrolls"
        await _type(d, "line", 'IP(dst="192.0.2.256")/TCP()')
        await d.until("IP.dst: '192.0.2.256' is no IPv4 address.")
        await _type(d, "line", "IP()/TCP()")
        await d.until("10 × TCP SYN")


async def test_a_field_says_what_it_takes_and_what_is_wrong_with_what_is_typed() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        await _compose(d)
        form = d.app.screen.query_one("#form")
        form.focus()
        form.go(next(i for i, row in enumerate(form._rows) if row[2] == "IP source"))  # type: ignore[attr-defined]
        await d.press("enter")
        await d.until("An address; 192.0.2.0/24 a net")
        await d.press(*"256.1.1.1")
        await d.until("IP.src: '256.1.1.1' is no IPv4 address.")
        await d.press("enter")
        await d.pilot.pause(0.2)
        assert "An address; 192.0.2.0/24 a net" in d.text, "what is wrong is not taken"
        await d.press("home", "delete", "enter")
        await d.until("TCP SYN 56.1.1.1:")
