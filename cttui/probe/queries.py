"""Views of flows → pages: filter, sort, window, group over the store's columns."""

import numpy as np
from numpy.typing import NDArray

from cttui.flows import groups, window
from cttui.flows.select import select
from cttui.kernel import ctnetlink
from cttui.model import filters
from cttui.model.flow import DST_NAT, FILLER_MARK, FILLER_ZONE, SRC_NAT, Flow
from cttui.model.messages import FlowPage, FlowView, GroupPage, GroupView
from cttui.probe.watch import Watch

MOST_ROWS = 5000
"""Rows a page may have, whatever was asked: a flow takes up to 300 bytes, a frame 8 MiB."""


class Queries:
    """Answers questions about the flows of one Watch."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._parsed: tuple[str, filters.Node | None] = ("", None)

    def _node(self, text: str) -> filters.Node | None:
        if self._parsed[0] != text:
            self._parsed = (text, filters.parse(text))
        return self._parsed[1]

    def _fillers(self) -> NDArray[np.bool_]:
        columns = self._watch.store.columns
        mask: NDArray[np.bool_] = (columns["zone"] == FILLER_ZONE) & (columns["mark"] == FILLER_MARK)
        return mask

    def _select(self, text: str, now: float, fillers: bool, ended: bool) -> tuple[NDArray[np.int64], int]:
        """Rows that match, and how many fillers were left out."""
        store = self._watch.store
        rows = store.rows(ended=ended)
        hidden = 0
        if not fillers and len(rows):
            keep = ~self._fillers()[rows]
            hidden = int(len(rows) - np.count_nonzero(keep))
            if hidden:
                rows = rows[keep]
        node = self._node(text)
        return (rows if node is None else select(node, store.columns, rows, now, store.interned)), hidden

    def flows(self, view: FlowView, now: float) -> FlowPage:
        """A window of flows; a filter that can't be read is answered by its error and column."""
        store = self._watch.store
        if view.keys:
            found = [row for key in view.keys if (row := store.row_of(key)) is not None]
            at = np.array(found, np.int64)
            return FlowPage(total=len(store), matched=len(found), rows=self._fresh(at, view, now))
        try:
            rows, hidden = self._select(view.filter, now, view.fillers, ended=view.refresh)
            values = window.sort_values(store.columns, rows, view.sort, now, store.interned)
        except filters.FilterError as e:
            return FlowPage(total=len(store), error=f"{e.message} {e.suggestion}".strip(), error_column=e.column)
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
        at = rows[window.window(values, first, count, descending=view.descending)]
        nat = int(np.count_nonzero(store.columns["status"][rows] & np.uint32(SRC_NAT | DST_NAT)))
        return FlowPage(
            total=len(store),
            matched=len(rows),
            first=first,
            rows=self._fresh(at, view, now),
            fillers_hidden=hidden,
            follow_at=follow_at,
            nat=nat,
        )

    def _fresh(self, rows: NDArray[np.int64], view: FlowView, now: float) -> list[Flow]:
        """The rows' flows, read again one by one: timeouts and counters send no event."""
        store = self._watch.store
        if view.refresh and len(rows) and self._watch.running:
            live = rows[store.live[rows]]
            keys = store.columns["key"][rows]
            got = ctnetlink.get_many(self._watch.decoder, store.columns, live)
            store.put_get(got.batches, got.gone, now)
            rows = rows[store.columns["key"][rows] == keys]
        return store.flows(rows, now)

    def groups(self, view: GroupView, now: float) -> GroupPage:
        """A window of groups; an empty page for a filter that can't be read (the flow page tells)."""
        store = self._watch.store
        try:
            rows, _ = self._select(view.filter, now, view.fillers, ended=False)
        except filters.FilterError:
            return GroupPage(by=view.by)
        unknown = [key for key in view.by if key not in filters.GROUP_KEYS]
        if unknown or not view.by:
            return GroupPage(by=view.by, error=f"Flows can't be grouped by {', '.join(unknown) or 'nothing'}.")
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
