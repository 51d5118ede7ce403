"""The header fields of a burst, one a line."""

from textual.message import Message

from cttui.lab.form import Fields
from cttui.ui.lines import Line, pad, width_of
from cttui.ui.prose import wrap
from cttui.ui.rows import Rows

PAYLOAD = 'Text; "x"*100 a hundred of them. Empty: none.'
FRAGMENT = "Bytes of payload in each fragment, from 8 to 65528. Empty: one whole packet."


class Form(Rows):
    """Header fields, one a line: what is set, or in muted words what the packet has otherwise."""

    class Edit(Message):
        """Enter on a line: `layer` and `name` say which; `layer` "" for the form's own lines. `hint`: what it takes."""

        def __init__(self, layer: str, name: str, label: str, value: str, hint: str) -> None:
            super().__init__()
            self.layer, self.name, self.label, self.value, self.hint = layer, name, label, value, hint

    def __init__(self) -> None:
        super().__init__(heading="Fields", id="form")
        self.fields: Fields | None = None
        self.why_not = ""
        self._rows: list[tuple[str, str, str, str, str, str]] = []
        """Layer, name, label, value, default, hint."""

    def show(self, fields: Fields | None, why_not: str = "") -> None:
        """The fields of the line, or why the form has none for it."""
        self.fields, self.why_not = fields, why_not
        self._rows = []
        if fields is not None:
            self._rows = [
                ("", "network", "network layer", fields.network, "", ""),
                ("", "transport", "transport layer", fields.transport or "none", "", ""),
                *(
                    (layer, f.name, f"{layer} {f.label}", value, f.default, f.hint)
                    for layer, f, value in fields.lines()
                ),
                ("", "payload", "payload", fields.payload, "none", PAYLOAD),
                ("", "fragment", "fragment size", str(fields.fragment or ""), "whole", FRAGMENT),
            ]
        self.total = len(self._rows)
        self.settle()
        self.paint()

    def lay_out(self, width: int, height: int) -> list[Line]:
        if self.fields is None:
            return wrap(f" {self.why_not}", width, "muted")
        lines: list[Line] = []
        room = self.row_width(width)
        label_width = min(max(width_of(label) for _, _, label, *_ in self._rows), room // 2)
        for i in range(self.top, min(self.total, self.top + self.visible_rows)):
            _, _, label, value, default, _ = self._rows[i]
            here = self.cursor_style if i == self.cursor else ""
            text = f"{'▸' if i == self.cursor else ' '} {pad(label, label_width)} "
            lines.append(
                (
                    (text, here or "label"),
                    (
                        pad(value or default, max(0, room - len(text))),
                        here or ("value" if value else "muted"),
                    ),
                )
            )
        return self.scrollbar(lines, width)

    def opened(self) -> None:
        if self.fields is not None and 0 <= self.cursor < self.total:
            layer, name, label, value, _, hint = self._rows[self.cursor]
            self.post_message(self.Edit(layer, name, label, value, hint))
