"""Every action, declared once: bindings, footer, help, command palette and docs/keys.md (tools/make_keys.py) come from here."""

from dataclasses import dataclass

EVERYWHERE, PANELS, FLOWS, HOOKS, PACKETS, LAB, HOST = (
    "Everywhere", "Panels", "Flows", "Hooks", "Packets", "Sandbox and bursts", "What is switched on",
)  # fmt: skip
GROUPS = (EVERYWHERE, PANELS, FLOWS, HOOKS, PACKETS, LAB, HOST)


@dataclass(frozen=True, slots=True)
class Action:
    """Something a person can do.

    `key` are Textual key names, comma-separated, the first one is shown. `panels` are the panels in which
    it means something (empty: any). `footer` orders the footer: lowest first, 0 is left out. `needs` is what a probe
    must be able to do (`Welcome.can`) for it.
    """

    id: str
    key: str
    label: str
    help: str
    group: str
    panels: tuple[str, ...] = ()
    footer: int = 0
    needs: str = ""
    sandbox: bool = False
    """It exists in a sandbox only."""
    live: bool = False
    """It asks more of a probe than to be looked at: a recording can't."""
    rows: tuple[str, ...] = ()
    """It acts on rows of one of these panels: without any it can't work."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides which actions can work now."""

    sandbox: bool = True
    alive: bool = True
    """A probe answers."""
    frozen: bool = False
    other: bool = True
    """There is another target to look at."""
    can: frozenset[str] | None = None
    """See Welcome; None before the probe has greeted."""
    recording: bool = False
    next_action: str = ""
    """Of a recording: the kind of the action that it goes on with, whose key is that of a burst."""
    empty: frozenset[str] = frozenset()
    """Panels on screen that have no rows."""
    inside: bool = False
    """A panel is maximised, a group entered, a filter set: there is a way back."""

    def allows(self, action: "Action") -> bool:
        """Whether it can work. Where it can't, its key still says why."""
        if action.id == "target":
            return self.other
        if action.id == "back":
            return self.inside
        if action.rows and self.empty.issuperset(action.rows):
            return False
        met = READINGS if self.recording else ("",)
        if (self.recording or not self.alive) and (action.live or action.needs not in met):
            return self.alive and action.id == "fire" and bool(self.next_action)
        able = self.can is None or not action.needs or action.needs in self.can
        return able and (self.sandbox or not action.sandbox)


_A = Action
ACTIONS: tuple[Action, ...] = (
    _A("quit", "q,ctrl+c", "quit", "Leave. A sandbox and everything in it is gone; what was changed on a host and not kept is put back. Over the dashboard, `q` closes the dialog or screen.", EVERYWHERE, footer=90),
    _A("help", "question_mark,f1", "help", "Explain the panel in focus and list its keys.", EVERYWHERE, footer=80),
    _A("palette", "ctrl+p", "commands", "Search every command by its name, key or what it does.", EVERYWHERE),
    _A("back", "escape", "back", "One step back: close what is maximised, leave a group, clear the filter.", EVERYWHERE, footer=5),
    _A("freeze", "space", "freeze", "Hold the picture still. Collection goes on; the same key continues with the present.", EVERYWHERE, footer=70),
    _A("explain", "f4", "explain", "Say in words what was lost, where, by which counter, and what to do about it.", EVERYWHERE),
    _A("target", "h", "host/sandbox", "Look at the host or at the sandbox. Both go on running.", EVERYWHERE, footer=75),
    _A("faster", "plus", "faster", "Ask for readings more often: a higher rate, up to 4 a second.", EVERYWHERE),
    _A("slower", "minus", "slower", "Ask for readings less often: a lower rate spares a slow line.", EVERYWHERE),
    _A("theme", "f2", "theme", "Choose the colours.", EVERYWHERE),
    _A("present", "f9", "presenter", "Presenter mode: the numbers in question in big digits, the keys you press, and a tale's predictions only once their step runs.", EVERYWHERE),
    _A("copy", "y", "copy", "Copy the flow, rule, packet or panel under the cursor in one of several forms.", EVERYWHERE, footer=60),
    _A("redraw", "ctrl+l", "redraw", "Paint the whole screen again.", EVERYWHERE),
    _A("suspend", "ctrl+z", "suspend", "Put the program into the background; `fg` brings it back.", EVERYWHERE),
    _A("panel-1", "1", "flows", "Go to the flows; again: maximise.", PANELS),
    _A("panel-2", "2", "hooks", "Go to the hooks; again: maximise.", PANELS),
    _A("panel-3", "3", "packets", "Go to the packets; again: maximise.", PANELS),
    _A("panel-4", "4", "groups", "Go to what fills the table; again: maximise.", PANELS),
    _A("panel-5", "5", "statistics", "Go to the statistics and their history; again: maximise.", PANELS),
    _A("zoom", "z", "maximise", "Give the panel in focus the whole screen, or back.", PANELS),
    _A("next", "tab", "next panel", "Focus the next panel.", PANELS),
    _A("previous", "shift+tab", "previous panel", "Focus the previous panel.", PANELS),
    _A("filter", "slash", "filter", "Show only the flows that match, e.g. `src=10.0.0.0/8 dport=443 state=SYN_SENT`; in the packet log, only such packets. Esc takes it off.", FLOWS, footer=30, needs="ctnetlink"),
    _A("detail", "enter", "detail", "Everything about the flow under the cursor, or into the group under it.", FLOWS, ("flows", "groups"), footer=45, needs="ctnetlink", rows=("flows", "groups")),
    _A("group", "g", "group", "Count flows by source, destination, port, state, … or several of them together: what fills the table.", FLOWS, footer=40, needs="ctnetlink"),
    _A("sort", "s", "sort", "Choose the column that orders the flows.", FLOWS, needs="ctnetlink"),
    _A("columns", "c", "columns", "Choose which columns are shown, in which order and how wide.", FLOWS, needs="ctnetlink"),
    _A("fillers", "f", "fillers", "Show or hide the entries that only occupy slots of the sandbox.", FLOWS, sandbox=True),
    _A("delete", "d", "delete", "Delete the flow under the cursor, after a question.", FLOWS, ("flows",), needs="write", rows=("flows",)),
    _A("delete-set", "D", "delete all", "Delete the flows that the filter shows, after a question that counts them.", FLOWS, needs="write", rows=("flows",)),
    _A("rule-order", "o", "order", "Rules in the order of the packet's path, or the hottest first.", HOOKS, ("hooks",), footer=12, needs="rules"),
    _A("stages", "w", "stages", "Count packets before and after each step of the path with counters of our own (nftables, removed when we leave).", HOOKS, ("hooks",), footer=11, needs="stages"),
    _A("capture", "P", "capture", "Packet log on or off; on a host a dialog asks for filter, interface and limits.", PACKETS, ("packets",), footer=11, needs="capture"),
    _A("journeys", "J", "journeys", "The way of each traced packet through chains and rules: packets × stages. Every burst is traced; on a host `a` there arms a trace.", PACKETS, footer=46),
    _A("export", "E", "export", "Write the log, or what its filter shows, to a pcapng file with journeys as comments.", PACKETS, ("packets",), footer=13, rows=("packets",)),
    _A("its-flow", "l", "its flow", "The flow of the packet under the cursor.", PACKETS, ("packets",), footer=14, needs="ctnetlink", rows=("packets",)),
    _A("its-packets", "L", "its packets", "Only the packets of the flow under the cursor, in the packet log. Esc shows all again.", FLOWS, ("flows",), needs="ctnetlink", rows=("flows",)),
    _A("fire", "b", "burst", "Fire the burst as composed into the sandbox; the first one is 10 SYNs. In a recording: go on with what was done next, a burst or else.", LAB, footer=10, needs="fire", sandbox=True),
    _A("compose", "B", "compose", "Compose the burst: presets, header fields, or one line in scapy's notation.", LAB, footer=15, needs="fire", sandbox=True),
    _A("result", "v", "last burst", "Show again what the last burst did.", LAB, sandbox=True),
    _A("cancel", "x", "cancel", "Stop the burst, fill or deletion that is running.", LAB, live=True),
    _A("tunables", "t", "tunables", "Read and change the kernel's settings; in a sandbox, how many slots are free.", LAB, footer=20, live=True),
    _A("tales", "T", "tales", "Experiments with a prediction, run live: a full table, stray ACKs, a SYN flood, …", LAB, footer=25, live=True),
    _A("reset", "R", "reset", "A new sandbox in place of this one; a new probe where one has died.", LAB),
    _A("events", "e", "events", "Attach to the kernel's events: exact new and ended flows, at some cost to a busy host.", HOST, needs="events"),
    _A("accounting", "a", "accounting", "Have the kernel count packets and bytes of flows that begin from now on.", HOST, needs="write"),
)  # fmt: skip

BY_ID: dict[str, Action] = {action.id: action for action in ACTIONS}

READINGS = ("", "ctnetlink", "rules")
"""Needs that a recording meets as well as the probe did that it was made with."""

NEXT = {"fire": "burst", "fill": "fill the table"}
"""In a recording: kind of the action that it goes on with → label of the key that does."""

WITHOUT_PROBE = ("help", "quit", "target", "reset")
"""What the footer offers where no probe answers."""

APP_IDS = ("quit", "help", "palette", "theme", "suspend", "redraw")
"""Actions that work on every screen; the others belong to the dashboard."""

KEY_NAMES: dict[str, str] = {
    "question_mark": "?", "slash": "/", "space": "space", "escape": "Esc", "enter": "Enter", "plus": "+", "minus": "-",
    "tab": "Tab", "shift+tab": "Shift+Tab", "pageup": "PgUp", "pagedown": "PgDn", "home": "Home", "end": "End",
    "up": "↑", "down": "↓", "left": "←", "right": "→", "dollar_sign": "$", "circumflex_accent": "^", "comma": ",",
    "full_stop": ".", "colon": ":", "less_than_sign": "<", "greater_than_sign": ">", "equals_sign": "=", "left_square_bracket": "[",
    "right_square_bracket": "]", "backspace": "Backspace", "delete": "Del",
}  # fmt: skip


def key_name(key: str) -> str:
    """A Textual key as a person writes it: `question_mark` → `?`, `ctrl+p` → `Ctrl+P`, `f4` → `F4`."""
    if key in KEY_NAMES:
        return KEY_NAMES[key]
    if len(key) > 1 and key[0] == "f" and key[1:].isdigit():
        return key.upper()
    if "+" in key:
        modifier, _, rest = key.rpartition("+")
        return f"{modifier.title()}+{key_name(rest) if len(rest) > 1 else rest.upper()}"
    return key


def keys_of(action: Action, keymap: dict[str, str]) -> tuple[str, ...]:
    """The Textual keys of an action under a person's keymap."""
    return tuple(key.strip() for key in keymap.get(action.id, action.key).split(",") if key.strip())


def shown_key(action: Action, keymap: dict[str, str]) -> str:
    """The first key, as footer and sentences show it."""
    keys = keys_of(action, keymap)
    return key_name(keys[0]) if keys else ""


def footer(panel: str, here: Situation, keymap: dict[str, str]) -> list[tuple[str, str, str]]:
    """(action id, key, label) in the footer's order for the panel in focus."""
    listed = (
        [a for a in ACTIONS if a.footer and (not a.panels or panel in a.panels)]
        if here.alive
        else [BY_ID[id_] for id_ in WITHOUT_PROBE]
    )
    chosen = [a for a in listed if here.allows(a) and not (panel in a.rows and panel in here.empty)]
    chosen.sort(key=lambda a: 0 if here.frozen and a.id == "freeze" else a.footer)
    return [(a.id, shown_key(a, keymap), _label(a, here)) for a in chosen]


def _label(action: Action, here: Situation) -> str:
    if here.frozen and action.id == "freeze":
        return "go on"
    if here.recording and action.id == "fire":
        return NEXT.get(here.next_action, "what was next")
    return action.label
