"""A person's keys: checked against the actions, turned into Textual bindings."""

import difflib
from collections.abc import Iterable, Mapping

from textual.binding import Binding

from cttui.ui import actions

WIDGETS: dict[str, str] = {"rows.first": "home"}
"""Bindings of widgets that give way to an action's key: `g` groups."""


def check(keys: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The usable part of a `[keys]` table, and a sentence for each entry that is not.

    Refused: an unknown action, an empty key, a key that another action keeps.
    """
    wanted: dict[str, str] = {}
    problems: list[str] = []
    for id_, text in keys.items():
        if id_ not in actions.BY_ID:
            near = difflib.get_close_matches(id_, list(actions.BY_ID), n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            problems.append(f"[keys] {id_}: there is no such action.{hint}")
            continue
        if not text.replace(",", "").strip():
            problems.append(f"[keys] {id_}: no key given; the usual one stays.")
            continue
        wanted[id_] = text
    for id_, text in list(wanted.items()):
        for key in actions.keys_of(actions.BY_ID[id_], {id_: text}):
            holder = next(
                (a.id for a in actions.ACTIONS if a.id != id_ and key in actions.keys_of(a, wanted)), ""
            )
            if holder and id_ in wanted:
                problems.append(f"[keys] {id_}: {actions.key_name(key)} already belongs to {holder}.")
                del wanted[id_]
    return wanted, problems


def bindings(ids: Iterable[str]) -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """Textual bindings that call `act(id)` on the screen or app they stand on; ids are what a keymap names."""
    return [
        Binding(a.key, f"act('{a.id}')", a.label, show=False, tooltip=a.help, id=a.id)
        for a in (actions.BY_ID[id_] for id_ in ids)
    ]
