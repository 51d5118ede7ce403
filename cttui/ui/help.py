"""Help: the panel in focus, or the screen over the dashboard, in plain words, then its keys, then all others."""

from collections.abc import Set

from textual.binding import Binding
from textual.screen import Screen

from cttui.ui import actions, keymap
from cttui.ui.dashboard import Dashboard
from cttui.ui.dialogs import Read
from cttui.ui.journey_text import LEGEND
from cttui.ui.questions import Paragraphs

ABOUT: dict[str, tuple[str, str]] = {
    "flows": (
        "Flows: the conntrack table",
        "One line an entry. A first sign marks what is new (+), changed (*) or just ended (-). SOURCE and "
        "DESTINATION are as the first packet had them; with NAT, the other side of the translation follows. "
        "TIMEOUT runs down to the entry's end. unreplied: no answer was seen yet; assured: traffic in both "
        "directions, so that a full table does not evict it.",
    ),
    "hooks": (
        "Hooks: the path of a packet",
        "What a packet meets, in its order, with what each step counted. conntrack stands where it works: after "
        "raw, before mangle. A number with a minus is what one step counted and the next did not: those packets "
        "ended there, ✗ where no rule meant them to. A rule that drops and has counted is red, too.",
    ),
    "packets": (
        "Packets: a log as tcpdump writes it",
        "Time, interface, direction, addresses, and in the last column what became of the packet: where it ended "
        "if it was traced, otherwise the state of its flow. Scrolling up stops following, and the window then stays "
        "on its packets; F follows the newest again. When more comes than can be read, the newest are shown and "
        "above them the most frequent kinds; everything is kept.",
    ),
    "groups": (
        "Groups: what fills the table",
        "Flows counted by what they have in common. Enter goes into a group, Esc comes back. A large share that "
        "never got a reply is a scan, a flood, or a server that does not answer.",
    ),
    "statistics": (
        "Statistics: what conntrack counted itself",
        "drop: packets conntrack dropped because the table was full or a race was lost; no rule counts them. "
        "early_drop: entries evicted to make room. insert_failed: a race lost at confirmation. invalid: packets "
        "that fit no connection. They count since this namespace exists; the rate is that of now. The one under the "
        "cursor is explained below the list, and when to worry about it.",
    ),
    "detail": ("Detail: one flow, whole", "All attributes of the flow under the cursor, kept up to date."),
}
SCREENS: dict[str, tuple[str, str]] = {
    "tales": (
        "Tales: experiments with a prediction",
        "Each has a story, a prediction and a sandbox of its own, in which it is tried out live. In presenter mode the "
        "list does not say what comes out.",
    ),
    "tale": (
        "A tale: predicted and measured",
        "It begins with a fresh sandbox. r runs it without stopping. n stops before each step, with what will be done "
        "and what is predicted: say first what you expect, and why; n carries it out, r with all that follow. Below, "
        "the sandbox live. Afterwards: what it means, in production too, and p to play on in the same sandbox. In "
        "presenter mode a prediction is a ? until its step runs.",
    ),
    "journeys": (
        "Journeys: packets × stages",
        "A line for each traced packet, a column for each stage of its path. "
        f"{LEGEND}. Below, every chain and rule that the packet under the cursor met. "
        "delivered: netfilter let it through to this machine. That UDP or TCP lost it there, as where no socket is, "
        "stands at its end where a burst's counters tell.",
    ),
}
"""Of the screens over the dashboard that have no panels of their own."""


def paragraphs(screen: Screen[object], board: Dashboard, keys: dict[str, str]) -> Paragraphs:
    """The help for a screen over the dashboard, or for the panel in focus."""
    if screen.id in SCREENS:
        return _of_screen(screen, keys)
    panel = board.panel or "flows"
    title, about = ABOUT[panel]
    out: Paragraphs = [(title, "heading"), about, "", ("Keys of this panel", "heading")]
    own = [a for a in actions.ACTIONS if panel in a.panels]
    taken = {_names(a, keys) for a in own}
    moves = widget_keys(type(board.query_one(f"#{panel}")).__mro__)
    out += [_of(a, keys) for a in own]
    out += [_line(names, what) for names, what in moves if names not in taken]
    for group in actions.GROUPS:
        chosen = [a for a in actions.ACTIONS if a.group == group and not a.panels]
        if chosen:
            out += ["", (group, "heading"), *(_of(a, keys) for a in chosen)]
    return out


def _of_screen(screen: Screen[object], keys: dict[str, str]) -> Paragraphs:
    title, about = SCREENS[screen.id or ""]
    out: Paragraphs = [(title, "heading"), about, "", ("Keys of this screen", "heading")]
    own = widget_keys(type(screen).__mro__)
    moves = widget_keys(type(screen.focused).__mro__) if screen.focused is not None else []
    taken = {names for names, _ in own}
    taken_keys = {key for names in taken for key in names.split()}
    out += [_line(names, what) for names, what in [*own, *(m for m in moves if m[0] not in taken)]]
    return [
        *out,
        "",
        (actions.EVERYWHERE, "heading"),
        *(
            _line(names, actions.BY_ID[id_].help)
            for id_ in actions.APP_IDS
            if (names := _names(actions.BY_ID[id_], keys, taken_keys))
        ),
    ]


def _names(action: actions.Action, mine: dict[str, str], but: Set[str] = frozenset()) -> str:
    names = (actions.key_name(key) for key in actions.keys_of(action, mine))
    return " ".join(name for name in names if name not in but)


def _of(action: actions.Action, mine: dict[str, str]) -> str:
    return _line(_names(action, mine), action.help)


def _line(keys: str, what: str) -> str:
    return f"  {keys:<12} {what}"


def widget_keys(classes: tuple[type, ...]) -> list[tuple[str, str]]:
    """(keys, what they do) of the bindings that the widgets of this program declare themselves."""
    out: dict[str, tuple[str, str]] = {}
    for one in classes:
        if not one.__module__.startswith("cttui."):
            continue
        for binding in one.__dict__.get("BINDINGS", ()):
            if isinstance(binding, Binding) and binding.description:
                keys = " ".join(
                    actions.key_name(k.strip())
                    for k in keymap.WIDGETS.get(binding.id or "", binding.key).split(",")
                )
                out.setdefault(binding.action, (keys, binding.description))
    return list(out.values())


class HelpScreen(Read):
    """F1."""

    def __init__(self, screen: Screen[object], board: Dashboard, keys: dict[str, str]) -> None:
        super().__init__("Help", paragraphs(screen, board, keys))
