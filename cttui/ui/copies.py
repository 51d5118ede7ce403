"""The forms in which what is under the cursor can be copied."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from cttui.model import packet_words, words
from cttui.model.packet import PacketRow
from cttui.model.safe import clean
from cttui.ui.cells import Cells
from cttui.ui.dashboard import Dashboard
from cttui.ui.detail import rule_command


@dataclass(frozen=True, slots=True)
class Form:
    """One of them: what it is called, what is copied."""

    label: str
    text: str
    later: Callable[[], str] | None = None
    """Makes the text where that takes its time (scapy's import): called in a thread."""

    @property
    def preview(self) -> str:
        """What the menu says of it."""
        if self.later is not None:
            return "as one would type it"
        lines = self.text.count("\n") + 1
        return self.text if lines == 1 else f"{lines} lines"


def forms(board: Dashboard) -> list[Form]:
    """For the panel in focus, the most specific first."""
    out: list[Form] = []
    panel = board.panel or "flows"
    if panel in ("flows", "detail") and (flow := board.flows.selected) is not None:
        out += [
            Form("flow as conntrack line", words.conntrack_line(flow)),
            Form("command that deletes it", words.conntrack_delete_command(flow)),
            Form("filter that selects it", flow_filter(words.flow_dict(flow))),
            Form("flow as JSON", json.dumps(words.flow_dict(flow), ensure_ascii=False)),
        ]
    elif panel == "hooks" and (found := board.hooks.selected) is not None:
        out += [Form("rule as command", rule_command(*found)), Form("rule as text", clean(found[1].text))]
    elif panel == "packets" and (packet := board.packets.selected) is not None:
        out += [
            Form("packet as tcpdump line", packet_words.packet_line(packet)),
            Form("packet as scapy expression", "", lambda: _scapy(packet)),
            Form("packet as hex", packet.data.hex(" ")),
        ]
    elif panel == "groups" and (row := board.groups.selected) is not None:
        out.append(Form("filter of the group", row.filter))
    widget = board.query_one(f"#{panel}", Cells)
    out += [Form("panel as text", widget.as_text()), Form("panel as Markdown", widget.as_markdown())]
    return out


def flow_filter(flow: dict[str, object]) -> str:
    """Words of the filter language for one flow; without a zone they would select its namesakes too."""
    keys = ("src", "dst", "sport", "dport", "type", "code", "icmp-id", "srckey", "dstkey", "zone")
    return " ".join(
        [f"proto={flow['proto']}" if flow["proto"] != "unknown" else f"proto={flow['protonum']}"]
        + [f"{k}={flow[k]}" for k in keys if flow.get(k) is not None]
    )


def _scapy(packet: PacketRow) -> str:
    from cttui.lab.dissect import as_scapy

    return as_scapy(packet)
