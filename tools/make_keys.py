"""Write docs/keys.md from the actions and the widgets' own bindings; `--check` only says whether it is right."""

import sys

from made import ROOT, keep

from cttui.ui import actions
from cttui.ui.column_chooser import ColumnChooser
from cttui.ui.filter_bar import FilterBar
from cttui.ui.help import widget_keys
from cttui.ui.rows import Rows
from cttui.ui.tunables import Tunables
from cttui.ui.widgets.flow_table import FlowTable
from cttui.ui.widgets.groups import Groups
from cttui.ui.widgets.packet_log import PacketLog

PAGE = ROOT / "docs" / "keys.md"
WIDGETS = (
    ("Moving in a panel or list", Rows), ("In the flow table", FlowTable), ("In the groups", Groups),
    ("In the packet log", PacketLog), ("While typing a filter", FilterBar), ("In the settings", Tunables),
    ("Choosing columns", ColumnChooser),
)  # fmt: skip


def page() -> str:
    """The page as it must be."""
    return markdown([(heading, widget_keys((widget,))) for heading, widget in WIDGETS])


def markdown(extra: list[tuple[str, list[tuple[str, str]]]]) -> str:
    """The key tables of docs/keys.md; `extra` are (heading, [(keys, what)]) of the widgets themselves."""
    lines = ["# Keys", "", "Made by `tools/make_keys.py` from `cttui/ui/actions.py`; edit that.", ""]
    for group in actions.GROUPS:
        lines += [f"## {group}", "", "| key | id | what |", "|---|---|---|"]
        for action in actions.ACTIONS:
            if action.group == group:
                keys = " ".join(f"`{actions.key_name(key)}`" for key in actions.keys_of(action, {}))
                lines.append(f"| {keys} | {action.id} | {_cell(action.help)} |")
        lines.append("")
    for heading, rows in extra:
        lines += [f"## {heading}", "", "| key | what |", "|---|---|"]
        lines += [f"| {_cell(keys)} | {_cell(what)} |" for keys, what in rows]
        lines.append("")
    lines += [
        "Keys are changed in the configuration file, by id:",
        "",
        "```toml",
        "[keys]",
        'freeze = "space,p"',
        "```",
        "",
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(argv: list[str]) -> int:
    """0 if the page is right or was written."""
    return keep({PAGE: page()}, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
