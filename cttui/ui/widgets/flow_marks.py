"""The sign before a flow: new, changed or ended a moment ago."""

from collections.abc import Iterable

from cttui.model.flow import Flow

NEW_S, FADE_S, CHANGED_S = 2.0, 5.0, 3.0
"""A flow is new for 2 s and fading until 5 s; a changed one is marked for 3 s."""


class FlowMarks:
    """What was seen of the flows on screen. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.begun: float | None = None
        """When the first page came: what was there then is not new."""
        self._seen: dict[int, tuple[tuple[object, ...], float]] = {}
        self._now = 0.0

    def clear(self) -> None:
        """Forget everything."""
        self.begun = None
        self._seen.clear()

    def see(self, flows: Iterable[Flow], now: float) -> None:
        """Take a page in: of flows that were on the one before, what became of them."""
        self._now = now
        if self.begun is None:
            self.begun = now
        seen: dict[int, tuple[tuple[object, ...], float]] = {}
        for flow in flows:
            # What changes with every packet (timeout, counters) is no news.
            is_ = (flow.state, flow.status, flow.mark, flow.reply_src, flow.reply_dst, flow.helper)
            was = self._seen.get(flow.key)
            seen[flow.key] = (is_, -1e9 if was is None else was[1] if was[0] == is_ else now)
        self._seen = seen

    def of(self, flow: Flow) -> tuple[str, str]:
        """(sign, style name) before a flow of the last page."""
        if flow.ended:
            return "-", "flow-ended"
        born = self._now - flow.born_s
        if flow.born_s < FADE_S and self.begun is not None and born > self.begun:
            return "+", "flow-new" if flow.born_s < NEW_S else "flow-fading"
        if self._now - self._seen.get(flow.key, ((), -1e9))[1] < CHANGED_S:
            return "*", "flow-changed"
        return " ", ""
