"""The lines of the flow table: its header, a flow, and a flow that is on its way."""

from collections.abc import Mapping, Sequence

from cttui.model.flow import Flow
from cttui.ui.lines import Line, Run, clip, clip_middle, pad, width_of
from cttui.ui.widgets.flow_columns import Column

MARKER = 3
"""Cells of the marker column: space, marker, space."""

Layout = Sequence[tuple[Column, int]]
"""Columns on screen with their cells."""


def header_line(layout: Layout, sort: str, arrow: str, overflow: bool, width: int) -> Line:
    """The labels, `arrow` at the one that sorts; `overflow`: there are more columns to the right."""
    runs: list[Run] = [(" " * MARKER, "header")]
    for column, cells in layout:
        chosen = column.sort == sort and bool(column.sort)
        # Short beside its arrow: a "…" would leave nothing to read in a narrow column.
        label = column.label[: cells - 1] + arrow if chosen else clip(column.label, cells)
        runs += [
            (pad(label, cells, column.right), "header-sorted" if chosen else "header"),
            (" ", "header"),
        ]
    runs.append((" " * max(0, width - sum(width_of(text) for text, _ in runs)), "header"))
    if not overflow:
        return tuple(runs)
    line, room = [], width - 1
    for (
        text,
        style,
    ) in runs:  # cut without a "…", which would stand beside the arrow or in place of a label's end
        line.append((text[:room], style))
        room -= len(line[-1][0])
    return (*line, ("▶", "header"))


def gap_line(style: str, width: int) -> Line:
    """A row that is on its way."""
    return ((pad(" " * MARKER + "…", width), style),)


def flow_line(
    flow: Flow, texts: Mapping[str, str], layout: Layout, mark: tuple[str, str], whole: str, width: int
) -> Line:
    """A flow's cells (`texts` by column) behind its mark; `whole`: one style for all of it, "" for each its own."""
    sign, sign_style = mark
    runs: list[Run] = [(f" {sign} ", whole or sign_style)]
    for column, cells in layout:
        text = texts[column.id]
        if width_of(text) > cells:
            text = elide(text, cells) if column.middle else clip(text, cells)
        text = pad(text, cells, column.right)
        runs.append((text, whole or (column.style(flow) if column.style else "")))
        runs.append((" ", whole))
    if whole:
        runs.append((" " * max(0, width - sum(width_of(text) for text, _ in runs)), whole))
    return tuple(runs)


def elide(endpoint: str, cells: int) -> str:
    """An endpoint cut in the middle of its address, the port whole."""
    port = endpoint.rfind(":")
    return clip_middle(
        endpoint, cells, len(endpoint) - port if port > 0 and not endpoint.endswith("]") else None
    )
