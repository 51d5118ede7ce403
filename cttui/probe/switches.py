"""What is switched on and off: events, capture, stage counters, traces.

All of it costs new flows or packets. On a host it therefore goes off by itself: when the table is in trouble,
and when nobody looks.
"""

import errno
from collections.abc import Callable

from cttui.model.actions import Arm, Disarm
from cttui.model.as_root import as_root
from cttui.model.faults import FaultError
from cttui.model.safe import clean
from cttui.probe.capture import Capture
from cttui.probe.counters import Counters
from cttui.probe.hook_watch import HookWatch
from cttui.probe.traces import Traces
from cttui.probe.watch import Watch

CROWDED = 0.90
"""Share of the limit from which a host's listeners are switched off again."""
UNSEEN_S = 60.0
"""Stage counters on a host go when no question for hooks came for so long."""


class Switches:
    """`notice(level, sentence, remedy)` tells the person what went off by itself. `device`: of a sandbox."""

    def __init__(
        self,
        watch: Watch,
        capture: Capture,
        hooks: HookWatch,
        traces: Traces,
        counters: Counters,
        *,
        device: str,
        notice: Callable[[str, str, str], None],
    ) -> None:
        self._watch, self._capture, self._hooks, self._traces = watch, capture, hooks, traces
        self._counters = counters
        self._device = device
        self._notice = notice
        self._crowded = False

    async def switch(self, action: Arm | Disarm) -> None:
        """Arm or disarm events, capture, stages, trace. Raises FaultError."""
        on = isinstance(action, Arm)
        try:
            match action.what:
                case "events":
                    self._watch.attach_events() if on else self._watch.detach_events()
                case "capture":
                    if isinstance(action, Arm):
                        interface = action.interface or self._device
                        await self._capture.start(interface, action.filter, action.packets, action.seconds)
                    else:
                        self._capture.stop()
                case "stages":
                    self._hooks.arm() if on else self._hooks.disarm()
                case "trace":
                    if isinstance(action, Arm):
                        hooks = ("prerouting", "output")
                        await self._traces.arm(
                            action.packets or 1000, action.filter, action.seconds or 30.0, hooks
                        )
                    else:
                        self._traces.disarm()
                case _:
                    raise FaultError("unknown-switch", f"There is no {action.what} to switch.")
        except OSError as e:
            if e.errno in (errno.EPERM, errno.EACCES):
                raise FaultError(
                    "no-privilege", f"{action.what}: {e.strerror}.", f"Run as root: {as_root()} …"
                ) from None
            name = f" {clean(action.interface)}" if isinstance(action, Arm) and action.interface else ""
            raise FaultError("switch", f"{action.what}{name}: {e.strerror or e}.") from None

    def step_back(self, count: int | None, maximum: int | None) -> None:
        """On a host in trouble, what was switched on before the trouble is switched off: it costs new flows."""
        crowded = (
            bool(count and maximum and count >= CROWDED * maximum) or self._counters.rates.get("drop", 0) > 0
        )
        before, self._crowded = self._crowded, crowded
        if before or not crowded:
            return
        off = []
        if self._watch.events is not None:
            self._watch.detach_events()
            off.append("events")
        if self._capture.capturing:
            self._capture.stop()
            off.append("capture")
        if self._hooks.stages.armed:
            self._hooks.disarm()
            off.append("stage counters")
        if self._traces.armed:
            self._traces.disarm()
            off.append("trace")
        if off:
            self._notice(
                "warning",
                f"The table is nearly full or dropping: {', '.join(off)} switched off to cost the host nothing.",
                "Switch them on again if you need them: they then stay on.",
            )

    def put_away(self) -> None:
        """On a host, stage counters that nobody looks at go: an administrator's `nft -f` fails beside them."""
        if self._hooks.stages.armed and self._hooks.unseen_s > UNSEEN_S:
            self._hooks.disarm()
            self._notice(
                "info",
                f"Stage counters off: nobody looked at the hooks for {UNSEEN_S:.0f} s. Their table is gone.",
                "The same key switches them on again.",
            )
