"""`cttui flows`: the conntrack table as text, filtered and sorted by the probe, read page by page."""

import json
import sys
from collections.abc import AsyncIterator, Callable

from cttui.cli.reading import need, with_link
from cttui.client.link import Link
from cttui.client.targets import Target
from cttui.model import filters, words
from cttui.model.faults import FaultError
from cttui.model.flow import Flow, state_name
from cttui.model.messages import Ask
from cttui.model.safe import clean
from cttui.model.views import FlowView

PAGE = 5000


async def pages(link: Link, view: FlowView, limit: int | None) -> AsyncIterator[list[Flow]]:
    """Pages of flows, the first after a fresh dump, up to `limit` flows. Raises FaultError "filter"."""
    first, fresh, last = 0, True, PAGE if limit is None else limit
    while first < last or fresh:
        count = min(PAGE, last - first)
        ask = FlowView(
            filter=view.filter,
            sort=view.sort,
            descending=view.descending,
            first=first,
            count=count,
            fillers=view.fillers,
            refresh=False,
        )
        answer = await link.ask(Ask(seq=link.next_seq(), flows=ask, fresh=fresh))
        page = answer.flows
        assert page is not None
        if page.error:
            raise FaultError("filter", page.error)
        yield page.rows
        first += len(page.rows)
        fresh = False
        # A page past the end would begin with the last flow again.
        last = page.matched if limit is None else min(limit, page.matched)
        if not page.rows:
            return


def flow_line(f: Flow, *, timed: bool = True) -> str:
    """A flow in columns; its timeout where it has one."""
    proto = words.protocol(f.proto)
    state = state_name(f.proto, f.state) or "-"
    source = words.endpoint(f.orig_src, f.orig_sport, f.proto)
    destination = words.endpoint(f.orig_dst, f.orig_dport, f.proto)
    left = f"{f.timeout_s}" if timed else ""
    return f"{proto:<8} {state:<13} {source:<28} {destination:<28} {left:>8} {words.flags_words(f)}".rstrip()


def checked(filter_text: str) -> None:
    """Raise FaultError "filter", with the column of the mistake, where the filter can't be read."""
    try:
        filters.parse(filter_text)
    except filters.FilterError as e:
        pointer = f"\n       {filter_text}\n       {' ' * e.column}^"
        raise FaultError("filter", f"{e.message}{pointer}", e.hint) from None


FORMATS: dict[str, Callable[[Flow], str]] = {
    "table": flow_line,
    "conntrack": words.conntrack_line,
    "json": lambda f: json.dumps(words.flow_dict(f)),
}

_HEADING = f"{'PROTO':<8} {'STATE':<13} {'SOURCE':<28} {'DESTINATION':<28} {'TIMEOUT':>8} FLAGS\n"
FRAMES: dict[str, tuple[str, str, str]] = {
    "table": (_HEADING, "\n", "\n"),
    "conntrack": ("", "\n", "\n"),
    "json": ("[\n ", ",\n ", "\n]\n"),
}
"""What stands before, between and after the flows."""
EMPTY: dict[str, str] = {"table": _HEADING, "conntrack": "", "json": "[]\n"}


def run(
    target: Target,
    filter_text: str,
    sort: str,
    descending: bool,
    limit: int | None,
    output: str,
    fillers: bool,
) -> None:
    """Print the flows. Raises FaultError "filter" with the column of a mistake, and what links raise."""
    if limit is not None and limit < 0:
        raise FaultError("usage", f"--limit {limit} is below 0.")
    if sort not in filters.SORT_KEYS:
        raise FaultError(
            "usage",
            f"There is no column {clean(sort)} to sort by.",
            f"Columns: {', '.join(filters.SORT_KEYS)}.",
        )
    checked(filter_text)
    view = FlowView(filter=filter_text, sort=sort, descending=descending, fillers=fillers)

    async def work(link: Link) -> None:
        need(link, "ctnetlink")
        line, out = FORMATS[output], sys.stdout
        opening, between, closing = FRAMES[output]
        written = 0
        async for flows in pages(link, view, limit):
            # Nothing is written before the first page: a filter that the probe refuses leaves stdout empty.
            for flow in flows:
                out.write((between if written else opening) + line(flow))
                written += 1
        out.write(closing if written else EMPTY[output])

    with_link(target, work)
