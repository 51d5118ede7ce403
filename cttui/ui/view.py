"""What the dashboard asks for: filter, groups entered, order, windows. Plain state, no widgets."""

from dataclasses import dataclass, field

from cttui.model.messages import Ask
from cttui.model.views import FlowView, GroupView, HookView, JourneyView, PacketView

GROUP_ROWS = 60


@dataclass(slots=True)
class Step:
    """A group that was entered: what the breadcrumb says and what selects it."""

    label: str
    filter: str
    group_by: list[str]
    """How flows were grouped where one came from."""


@dataclass(slots=True)
class View:
    """The question's lasting part. `first`, `count` and `follow` come from the flow table each time."""

    filter: str = ""
    group_by: list[str] = field(default_factory=lambda: ["state"])
    trail: list[Step] = field(default_factory=list)
    fillers: bool = False
    sort: str = "newest"
    descending: bool = True
    rule_order: str = "path"

    @property
    def whole_filter(self) -> str:
        """The filter typed and the groups entered, all of which must match."""
        parts = [p for p in (*(step.filter for step in self.trail), self.filter) if p.strip()]
        return parts[0] if len(parts) == 1 else " and ".join(f"({p})" for p in parts)

    @property
    def breadcrumbs(self) -> str:
        """The way to what is shown, "" at the top."""
        return " › ".join(step.label for step in self.trail)

    @property
    def inside(self) -> bool:
        """Whether there is something to leave: a group, a filter."""
        return bool(self.trail or self.filter)

    def enter(self, label: str, filter_: str) -> None:
        """Into a group."""
        self.trail.append(Step(label, filter_, list(self.group_by)))

    def leave(self) -> bool:
        """Out of the last group entered, or take the filter off; False where there is nothing to leave."""
        if self.trail:
            self.group_by = self.trail.pop().group_by
            return True
        if self.filter:
            self.filter = ""
            return True
        return False

    def flow_view(self, first: int, count: int, follow_key: int) -> FlowView:
        """The window of flows; `first` counts from the followed flow, where there is one."""
        return FlowView(
            filter=self.whole_filter, sort=self.sort, descending=self.descending, first=first, count=count,
            fillers=self.fillers, follow_key=follow_key, anchored=bool(follow_key),
        )  # fmt: skip

    def ask(
        self,
        seq: int,
        *,
        flows: FlowView | None,
        groups: int = 0,
        groups_first: int = 0,
        group_sort: tuple[str, bool] = ("count", True),
        packets: PacketView | None = None,
        rules: int | None = None,
        tunables: bool = False,
        history: int = 0,
        journeys: int = 0,
    ) -> Ask:
        """The question for what is visible: counts of 0 ask for nothing, 0 `rules` for losses and stages alone."""
        return Ask(
            seq=seq,
            flows=flows,
            groups=[
                GroupView(
                    by=self.group_by, filter=self.whole_filter, first=groups_first, count=groups,
                    fillers=self.fillers, sort=group_sort[0], descending=group_sort[1],
                )
            ] if groups else [],
            packets=packets,
            hooks=HookView(rules_per_chain=rules, order=self.rule_order) if rules is not None else None,
            tunables=tunables,
            history=history,
            journey=JourneyView(count=journeys) if journeys else None,
        )  # fmt: skip
