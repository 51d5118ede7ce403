"""The composer: what its last line offers."""

from collections.abc import Callable
from typing import Any

from cttui.ui.composer import Composer
from cttui.ui.fields import Field

Play = Callable[..., Any]


async def test_what_is_wrong_is_not_offered_to_be_fired_or_saved(play: Play) -> None:
    async with play("ten-syns", (100, 30)) as d:
        await d.until("fire the recorded burst")
        await d.press("B")
        await d.until("Enter  fire")
        composer = d.app.screen
        assert isinstance(composer, Composer) and "Ctrl+S  save" in d.text
        line = composer.query_one("#line", Field)
        right, line.value = line.value, 'IP(dst="192.0.2.1")/TCP(dprot=80)'
        await d.until("no field dprot", asking=False)
        assert "Enter  fire" not in d.text and "Ctrl+S" not in d.text and "Esc  close" in d.text
        await d.press("f5")
        assert d.app.screen is composer
        line.value = right
        await d.until("Enter  fire", asking=False)
        composer.query_one("#count", Field).value = "0"
        await d.until(lambda: "Enter  fire" not in d.text, asking=False)
        await d.press("down")
        await d.until("Enter  take", asking=False)
        assert "F5" not in d.text
        composer.query_one("#count", Field).value = "10"
        await d.until("F5  fire", asking=False)
        await d.press("ctrl+s")
        await d.until("Save this burst as", asking=False)
        await d.until("Esc  cancel", asking=False)
        assert "Enter  go on" not in d.text, "nothing was typed yet"
        await d.press("x")
        await d.until("Enter  go on", asking=False)
