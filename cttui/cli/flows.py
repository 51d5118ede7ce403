"""`cttui flows`: the conntrack table as text, filtered and sorted by the probe, read page by page."""

import json
import sys
from collections.abc import AsyncIterator, Callable

from cttui.cli.reading import need, with_link
from cttui.client.link import Link
from cttui.client.targets import Target
from cttui.model import filters, words
from cttui.model.flow import Flow, state_name
from cttui.model.messages import Ask, FaultError, FlowView

PAGE = 5000


async def pages(link: Link, view: FlowView, limit: int | None) -> AsyncIterator[list[Flow]]:
    """Pages of flows, the first after a fresh dump, up to `limit` flows."""
    first, fresh = 0, True
    while limit is None or first < limit:
        count = PAGE if limit is None else min(PAGE, limit - first)
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
        if len(page.rows) < count:
            return


def _table_line(f: Flow) -> str:
    proto = words.protocol(f.proto)
    state = state_name(f.proto, f.state) or "-"
    source = words.endpoint(f.orig_src, f.orig_sport, f.proto)
    destination = words.endpoint(f.orig_dst, f.orig_dport, f.proto)
    return f"{proto:<8} {state:<13} {source:<28} {destination:<28} {f.timeout_s:>8} {words.flags_words(f)}".rstrip()


FORMATS: dict[str, Callable[[Flow], str]] = {
    "table": _table_line,
    "conntrack": words.conntrack_line,
    "json": lambda f: json.dumps(words.flow_dict(f)),
}


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
    try:
        filters.parse(filter_text)
    except filters.FilterError as e:
        pointer = f"\n       {filter_text}\n       {' ' * e.column}^"
        raise FaultError("filter", f"{e.message}{pointer}", e.suggestion) from None
    view = FlowView(filter=filter_text, sort=sort, descending=descending, fillers=fillers)

    async def work(link: Link) -> None:
        need(link, "ctnetlink")
        line = FORMATS[output]
        out = sys.stdout
        if output == "table":
            out.write(f"{'PROTO':<8} {'STATE':<13} {'SOURCE':<28} {'DESTINATION':<28} {'TIMEOUT':>8} FLAGS\n")
        before = "[\n " if output == "json" else ""
        async for flows in pages(link, view, limit):
            for flow in flows:
                out.write(before + line(flow) + ("" if output == "json" else "\n"))
                if output == "json":
                    before = ",\n "
        if output == "json":
            out.write("\n]\n" if before.startswith(",") else "[]\n")

    with_link(target, work)
