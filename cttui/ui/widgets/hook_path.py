"""The packet's path through netfilter: hooks, chains, rules, conntrack in its place, and what was lost where."""


from textual.message import Message

from cttui.model.hooks import Chain, HooksReading, Rule
from cttui.ui.rows import Rows


class HookPath(Rows):
    """A list in path order; in a panel of four lines or less one line a direction."""

    class Opened(Message):
        """Enter or a double click on a rule."""

        def __init__(self, hooks: "HookPath", chain: Chain, rule: Rule) -> None:
            super().__init__()
            self.hooks, self.chain, self.rule = hooks, chain, rule

    class Moved(Message):
        """The cursor is on another line: on a rule, or on none."""

        def __init__(self, hooks: "HookPath", chain: Chain | None, rule: Rule | None) -> None:
            super().__init__()
            self.hooks, self.chain, self.rule = hooks, chain, rule

    def __init__(
        self, *, heading: str = "Hooks", key: str = "2", id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(heading=heading, key=key, id=id, classes=classes)
        self.reading = HooksReading()
        self.order = "path"
        """`path`, or `hottest`: rules by packets/s."""

    @property
    def selected(self) -> tuple[Chain, Rule] | None:
        """The rule under the cursor and its chain."""
        return None

    def show(self, reading: HooksReading) -> None:
        """Take a reading in and repaint what it changed."""
        self.reading = reading
        self.settle()
        self.paint()
