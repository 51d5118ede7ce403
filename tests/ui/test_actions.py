"""Actions: declared once, reachable, documented, with keys that don't collide."""

from collections import Counter
from pathlib import Path
from typing import Any

from cttui.ui import actions, keymap
from cttui.ui.layouts import Panels
from cttui.ui.program import Program

ROOT = Path(__file__).resolve().parents[2]


def test_ids_and_keys_are_unique() -> None:
    assert len(actions.BY_ID) == len(actions.ACTIONS)
    keys = Counter(key for a in actions.ACTIONS for key in actions.keys_of(a, {}))
    assert [key for key, n in keys.items() if n > 1] == []


def test_every_action_is_bound_once() -> None:
    bound = [b.id for cls in (Panels, Program) for b in cls.__dict__["BINDINGS"]]
    assert sorted(bound) == sorted(actions.BY_ID)


def test_every_action_says_what_it_does() -> None:
    for action in actions.ACTIONS:
        assert action.group in actions.GROUPS
        assert action.help.endswith((".", "…")), action.id
        assert len(action.label) <= 14, action.id


def test_key_names() -> None:
    assert [actions.key_name(k) for k in ("question_mark", "ctrl+p", "f4", "shift+tab", "b", "B", "space")] == [
        "?", "Ctrl+P", "F4", "Shift+Tab", "b", "B", "space",
    ]  # fmt: skip


def test_footer_fits_and_follows_the_panel() -> None:
    labels = _footer("flows")
    assert labels[0] == "burst" and labels[-1] == "quit"
    assert "detail" in labels
    assert "detail" not in _footer("hooks")
    assert "burst" not in _footer("flows", sandbox=False)


def _footer(panel: str, **situation: Any) -> list[str]:
    return [label for _, _, label in actions.footer(panel, actions.Situation(**situation), {})]


def test_only_what_can_work_is_offered() -> None:
    assert "host/sandbox" in _footer("flows") and "host/sandbox" not in _footer("flows", other=False)
    assert _footer("flows", alive=False) == ["reset", "host/sandbox", "help", "quit"]
    assert _footer("flows", alive=False, other=False) == ["reset", "help", "quit"]
    read_only = frozenset({"counters", "ctnetlink", "capture"})
    assert "stages" in _footer("hooks") and "stages" not in _footer("hooks", can=read_only)
    assert "capture" in _footer("packets", can=read_only)
    assert "capture" not in _footer("packets", can=frozenset({"counters"}))
    assert not {"filter", "group", "detail"} & set(_footer("flows", can=frozenset({"counters"})))
    assert {"filter", "group", "detail"} <= set(_footer("flows", can=read_only, recording=True))
    played = _footer("flows", recording=True, other=False)
    assert not {"burst", "compose", "tunables", "tales", "host/sandbox"} & set(played) and "filter" in played
    for kind, label in (("fire", "burst"), ("fill", "fill the table"), ("rules", "what was next")):
        assert _footer("flows", recording=True, next_action=kind)[0] == label
        assert _footer("flows", recording=True, next_action=kind, sandbox=False)[0] == label
    assert _footer("flows", frozen=True)[0] == "go on" and "freeze" not in _footer("flows", frozen=True)


def test_what_acts_on_rows_is_offered_where_there_are_some() -> None:
    assert {"export", "its flow"} <= set(_footer("packets"))
    assert not {"export", "its flow"} & set(_footer("packets", empty=frozenset({"packets"})))
    assert "detail" not in _footer("flows", empty=frozenset({"flows"}))
    assert "detail" in _footer("groups", empty=frozenset({"flows"}))
    here = actions.Situation(empty=frozenset({"flows"}))
    offered = {a.id for a in actions.ACTIONS if here.allows(a)}
    assert not {"delete", "delete-set", "its-packets"} & offered and {"detail", "export"} <= offered


def test_the_way_back_is_offered_where_there_is_one() -> None:
    assert _footer("hooks", inside=True)[0] == "back" and "back" not in _footer("hooks")


def test_keymap_is_checked() -> None:
    usable, problems = keymap.check({"freeze": "p", "freze": "x", "quit": "", "help": "b"})
    assert usable == {"freeze": "p"}
    assert any("Did you mean freeze?" in p for p in problems)
    assert any("b already belongs to fire" in p for p in problems)
    assert len(problems) == 3


def test_keys_that_change_places() -> None:
    usable, problems = keymap.check({"fire": "B", "compose": "b"})
    assert usable == {"fire": "B", "compose": "b"} and problems == []


def test_the_documentation_names_every_action() -> None:
    page = (ROOT / "docs/keys.md").read_text("utf-8")
    for action in actions.ACTIONS:
        assert f"| {action.id} |" in page
