"""Views of flows → pages: filter, sort, window, group over the store's columns."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from cttui.flows import groups, window
from cttui.flows.select import select
from cttui.flows.table import FlowTable
from cttui.kernel import ctnetlink
from cttui.kernel.ctrare import rare_attributes
from cttui.model import filters
from cttui.model.flow import Flow
from cttui.model.pages import FlowPage, GroupPage
from cttui.model.views import FlowView, GroupView
from cttui.probe.owners import Owners
from cttui.probe.watch import Watch

K = TypeVar("K")
V = TypeVar("V")
MOST_ROWS = 5000
"""Rows a page may have, whatever was asked: a flow takes up to 300 bytes, a frame 8 MiB."""
DUTY = 0.05
"""Share of the time that passes over the whole table (groups, breakdown) may take, however often keys are
pressed: 15 ms at half a million flows, so that the same question again within 0.3 s gets the same answer."""
OLDEST_S = 1.0


class Remembered(Generic[K, V]):
    """The last answer to a costly question, good for as long as DUTY says."""

    def __init__(self) -> None:
        self._kept: tuple[K, V, float] | None = None

    def get(self, question: K, work: Callable[[], V]) -> V:
        """The remembered answer to this very question, or the one that `work` gives now."""
        now = time.perf_counter()
        kept = self._kept
        if kept is not None and kept[0] == question and now < kept[2]:
            return kept[1]
        value = work()
        cost = time.perf_counter() - now
        self._kept = (question, value, now + min(cost / DUTY, OLDEST_S))
        return value


class Queries:
    """Answers questions about the flows of one Watch."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._owners = Owners()
        self._parsed: tuple[str, filters.Node | None] = ("", None)
        self._moment: tuple[float, FlowTable, float] | None = None
        self._grouped = Remembered[tuple[GroupView, float | None], GroupPage]()

    def table(self, at: float | None, now: float) -> tuple[FlowTable, float]:
        """The flows of the present, or of the moment `at`, and the time to count timeouts down to.

        A moment is kept from the first question that names it until one names another or none.
        """
        if at is None:
            self._moment = None
            return self._watch.store, now
        if self._moment is None or self._moment[0] != at:
            self._moment = (at, self._watch.store.snapshot(), now)
        return self._moment[1:]

    def _node(self, text: str) -> filters.Node | None:
        if self._parsed[0] != text:
            self._parsed = (text, filters.parse(text))
        return self._parsed[1]

    def _select(
        self, store: FlowTable, text: str, now: float, fillers: bool, ended: bool
    ) -> tuple[NDArray[np.int64], int]:
        """Rows that match, and how many fillers were left out."""
        rows = store.rows(ended=ended)
        hidden = 0
        if not fillers and len(rows):
            keep = ~store.fillers[rows]
            hidden = int(len(rows) - np.count_nonzero(keep))
            if hidden:
                rows = rows[keep]
        node = self._node(text)
        return (rows if node is None else select(node, store.columns, rows, now, store.interned)), hidden

    def flows(self, view: FlowView, now: float, at: float | None = None) -> FlowPage:
        """A window of flows; a filter that can't be read is answered by its error."""
        store, now = self.table(at, now)
        if view.keys:
            return self._by_key(store, view, now, present=at is None and self._watch.running)
        try:
            rows, hidden = self._select(store, view.filter, now, view.fillers, ended=view.refresh)
            values = window.sort_values(store.columns, rows, view.sort, now, store.interned)
        except filters.FilterError as e:
            return FlowPage(total=len(store), error=f"{e.message}. {e.hint}".rstrip())
        except KeyError:
            return FlowPage(total=len(store), error=f"There is no column {view.sort!r} to sort by.")
        count = min(view.count, MOST_ROWS)
        wanted, follow_at = view.first, -1
        if view.follow_key:
            row = store.row_of(view.follow_key)
            where = np.flatnonzero(rows == row) if row is not None else np.empty(0, np.int64)
            if len(where):
                follow_at = int(window.position_of(values, int(where[0]), descending=view.descending))
        if view.anchored:
            wanted += max(follow_at, 0)
        first = max(0, min(wanted, len(rows) - 1)) if len(rows) else 0
        shown = rows[window.window(values, first, count, descending=view.descending)]
        page = self._fresh(store, shown, view, now)  # finds some ended: counted after it
        return FlowPage(
            total=len(store),
            matched=len(rows),
            first=first,
            rows=page,
            fillers_hidden=hidden,
            follow_at=follow_at,
            ended=int(len(rows) - np.count_nonzero(store.live[rows])),
        )

    def _by_key(self, store: FlowTable, view: FlowView, now: float, *, present: bool) -> FlowPage:
        """The flows of some keys; `present`: with what is asked of the kernel for them alone."""
        found = [row for key in view.keys if (row := store.row_of(key)) is not None]
        flows = self._fresh(store, np.array(found, np.int64), view, now)
        page = FlowPage(total=len(store), matched=len(found), rows=flows)
        if not present:
            return page
        page = msgspec.structs.replace(page, expectations=ctnetlink.expectations(flows))
        if len(flows) == 1:
            owners, rare = self._owners.of(flows[0]), rare_attributes(flows[0])
            page = msgspec.structs.replace(page, owners=owners, rare=rare)
        return page

    def _fresh(self, table: FlowTable, rows: NDArray[np.int64], view: FlowView, now: float) -> list[Flow]:
        """The rows' flows, of the present read again one by one: timeouts and counters send no event."""
        store = self._watch.store
        if table is store and view.refresh and len(rows) and self._watch.running:
            live = rows[store.live[rows]]
            keys = store.columns["key"][rows]
            got = ctnetlink.get_many(self._watch.decoder, store.columns, live)
            store.put_get(got.batches, got.gone, now)
            rows = rows[store.columns["key"][rows] == keys]
        return table.flows(rows, now)

    def groups(self, view: GroupView, now: float, at: float | None = None) -> GroupPage:
        """A window of groups; an empty page for a filter that can't be read (the flow page tells)."""
        store, now = self.table(at, now)
        return self._grouped.get((view, at), lambda: self._group(store, view, now))

    def _group(self, store: FlowTable, view: GroupView, now: float) -> GroupPage:
        try:
            rows, _ = self._select(store, view.filter, now, view.fillers, ended=False)
        except filters.FilterError:
            return GroupPage(by=view.by)
        unknown = [key for key in view.by if key not in filters.GROUP_KEYS]
        if unknown or not view.by:
            return GroupPage(
                by=view.by, error=f"Flows can't be grouped by {', '.join(unknown) or 'nothing'}."
            )
        if view.sort not in groups.SORTS:
            return GroupPage(by=view.by, error=f"Groups have no {view.sort!r} to sort by.")
        return groups.group(
            store.columns,
            rows,
            view.by,
            sort=view.sort,
            descending=view.descending,
            first=view.first,
            count=view.count,
            interned=store.interned,
        )
