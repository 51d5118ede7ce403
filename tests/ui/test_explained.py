"""F4 in words that help the person who asks: what a key can do here, and what only more privilege can."""

from collections.abc import Callable
from typing import Any

import pytest

Play = Callable[..., Any]


@pytest.mark.parametrize(("may", "said", "unsaid"), [
    (True, "w in the hooks switches them on.", "sudo"), (False, "run sudo ", "w in the hooks"),
])  # fmt: skip
async def test_how_to_have_stages_counted(play: Play, may: bool, said: str, unsaid: str) -> None:
    async with play("host", (80, 24)) as d:
        await d.until(lambda: d.app.dashboard.answer is not None and d.app.dashboard.answer.hooks is not None)
        can = d.app.session.state.welcome.can
        can[:] = [what for what in can if what != "stages"] + ["stages"] * may
        await d.press("f4")
        await d.until("Explained")
        text = " ".join(d.text.replace("│", " ").split())
        assert "stage counters only." in text and said in text and unsaid not in text
