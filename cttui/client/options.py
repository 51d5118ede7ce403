"""What a start of the dashboard was asked for: flags over configuration over defaults."""

from dataclasses import dataclass, field
from pathlib import Path

from cttui.client.config import Config
from cttui.client.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything the user interface needs to begin."""

    target: Target
    other_target: Target | None = None
    """The host beside a sandbox, or the sandbox beside a host; None where there is none to switch to."""
    theme: str = "auto"
    """Its name, from a flag; auto: the one chosen last, otherwise what the configuration says."""
    hz: float = 1.0
    low_bandwidth: bool = False
    mouse: bool = True
    free: int | None = None
    """Slots to leave in the sandbox by filling it; None: don't fill."""
    read_only: bool = False
    unfocused: str = "slow"
    config: Config = field(default_factory=Config)
    remember: bool = True
    """Keep columns, sort and filters for the next time."""
    record: Path | None = None
    """Write every frame of the first target to this file."""
    replay: Path | None = None
    """Answer from this recording; no probe is started."""
    tale: str = ""
    """Open the tale screen on this tale."""
    tour: bool = False
    present: bool = False
    """Presenter mode from the start."""
