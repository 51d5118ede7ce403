"""The account of packets that came in: sent is what arrived, what was lost, and what was merged."""

from collections.abc import Iterable
from dataclasses import dataclass

from cttui.model.hooks import Loss, Stage


@dataclass(frozen=True, slots=True)
class Balance:
    """What entered one family's path from outside, and what became of it: entered = arrived + lost + merged."""

    entered: int
    arrived: int
    """Handed to a local protocol handler's door or out of POSTROUTING: past the last loss known."""
    lost: int
    merged: int


def balance(stages: Iterable[Stage], losses: Iterable[Loss], family: str) -> Balance:
    """The account of packets that came in from the network.

    Losses of packets made here (OUTPUT) are left out, socket losses are counted.
    """
    ends: dict[str, list[Stage]] = {}
    for stage in stages:
        if stage.family == family:
            ends.setdefault(stage.hook, []).append(stage)
    for of_hook in ends.values():
        of_hook.sort(key=lambda s: s.priority)
    here = [loss for loss in losses if loss.family == family and loss.hook in ("prerouting", "input", "forward")]  # fmt: skip
    behind = sum(loss.packets for loss in here if loss.before in ("confirm", "socket"))
    entered = ends["prerouting"][0].packets if "prerouting" in ends else 0
    arrived = sum(ends[hook][-1].packets for hook in ("input", "forward") if hook in ends) - behind
    lost = sum(loss.packets for loss in here if loss.is_loss)
    merged = sum(loss.packets for loss in here if not loss.is_loss)
    return Balance(entered, arrived, lost, merged)
