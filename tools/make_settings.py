"""Write the table of settings in docs/configuration.md from cttui/client/config.py; `--check` only says whether it is right."""

import sys

from made import ROOT, keep

from cttui.client.config import SETTINGS, Setting, full_name

PAGE = ROOT / "docs" / "configuration.md"
BEGIN, END = "<!-- settings: made by tools/make_settings.py -->\n", "<!-- end -->\n"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return (
        f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    )


def _may_be(setting: Setting) -> str:
    if setting.choices:
        return ", ".join(f"`{choice}`" for choice in setting.choices)
    if setting.least is not None and setting.most is not None:
        return f"{setting.least:,g} to {setting.most:,.0f}"
    return f"from {setting.least:g}" if setting.least is not None else ""


def table() -> str:
    """The Markdown table of every setting."""
    rows = ["| setting | default | may be | what |", "|---|---|---|---|"]
    rows += [
        f"| `{full_name(s)}` | `{_value(s.default)}` | {_may_be(s)} | {s.help.replace('|', chr(92) + '|')} |"
        for s in SETTINGS
    ]
    return "\n".join(rows) + "\n\n"


def page(text: str) -> str:
    """The page with the table as it must be."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}{END}{rest.partition(END)[2]}"


def main(argv: list[str]) -> int:
    """0 if the page is right or was written."""
    return keep({PAGE: page(PAGE.read_text("utf-8"))}, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
