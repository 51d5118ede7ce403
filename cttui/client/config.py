"""The configuration file: strict, so that a slip is named instead of ignored.

`$XDG_CONFIG_HOME/cttui/config.toml`. Every setting stands once in SETTINGS: reader, sample and flags'
defaults come from there.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cttui.model.faults import FaultError


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: where it stands, its default (whose type is its type), what it may be."""

    section: str
    name: str
    default: object
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


_COLUMNS = (
    "proto", "state", "src", "dst", "timeout", "flags", "reply_src", "reply_dst", "nat", "packets", "bytes", "rate",
    "age", "mark", "zone", "helper", "id", "use", "labels", "secctx",
)  # fmt: skip
"""Ids in ui/widgets/flow_columns.py, which this layer does not see; a test holds the two together."""
_SORTS = (
    "newest", "proto", "state", "src", "dst", "sport", "dport", "timeout", "bytes", "packets", "rate", "age", "rsrc",
    "rdst", "rsport", "rdport", "orig-bytes", "reply-bytes", "orig-packets", "reply-packets", "flags", "mark", "zone",
    "helper", "family", "use", "id",
)  # fmt: skip
"""Keys of model.filters.SORT_KEYS, without the filter language, which the first frame does without; likewise."""

SETTINGS: tuple[Setting, ...] = (
    Setting("", "target", "auto", "What to open on. auto: the host with privilege, otherwise the sandbox.", ("auto", "host", "sandbox")),
    Setting("", "theme", "auto", "The colours: auto (what suits the terminal), dark, light, high-contrast, colour-blind, ansi16, paper, or a file of your own in themes/ beside this one."),
    Setting("", "rate_hz", 1.0, "Readings a second.", least=0.1, most=4.0),
    Setting("", "low_bandwidth", False, "Halve what goes to the terminal: fewer readings, no history lines."),
    Setting("", "mouse", True, "Take mouse clicks and the wheel. Off: the terminal's own selection works."),
    Setting("", "unfocused", "slow", "While the terminal has no focus: slow (a reading every 10 s), idle (none), live.", ("slow", "idle", "live")),
    Setting("", "read_only", False, "Refuse everything that changes something in a host."),
    Setting("", "free", -1, "Fill a new sandbox until this many slots are left; -1: leave it empty.", least=-1, most=1 << 31),
    Setting("flows", "columns", [], "Columns of the flow table, in order; empty: what fits the width.", _COLUMNS),
    Setting("flows", "sort", "newest", "The column that orders the flows.", _SORTS),
    Setting("flows", "descending", True, "Largest or newest first."),
    Setting("burst", "line", "", "The burst that `b` fires, in scapy's notation; empty: 10 SYNs from ports 10000-10009 to port 80."),
    Setting("burst", "count", 10, "Packets in it.", least=1, most=100_000_000),
    Setting("burst", "rate_pps", 100.0, "Packets a second; 0: as fast as possible.", least=0.0),
    Setting("burst", "seed", 0, "Seed of its random fields: the same seed gives the same packets; -1: others each time.", least=-1),
)  # fmt: skip


FLAG = Path("--set")
"""Where a setting stands that was given on the command line."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says, defaults filled in. `keys` are action id → keys."""

    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    path: Path | None = None
    flags: frozenset[str] = frozenset()
    """Settings given on the command line, which win over what is remembered, too."""

    def __getitem__(self, name: str) -> Any:
        """A setting by `section.name` (top level: `name`)."""
        if name in self.values:
            return self.values[name]
        return _BY_NAME[name].default

    def unless(self, remembered: Any, name: str) -> Any:
        """What was chosen on the screen; the setting where nothing was, or where a flag says otherwise."""
        return self[name] if name in self.flags or not remembered else remembered


def full_name(setting: Setting) -> str:
    """`section.name`, or `name` at the top level."""
    return f"{setting.section}.{setting.name}" if setting.section else setting.name


_BY_NAME: dict[str, Setting] = {full_name(s): s for s in SETTINGS}
_SECTIONS = (*dict.fromkeys(s.section for s in SETTINGS if s.section), "keys")


def folder() -> Path:
    """Where the configuration and a person's themes are (XDG base directory specification)."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path("~/.config").expanduser()) / "cttui"


def load(path: Path | None = None) -> Config:
    """The configuration at `path`, or the usual one; no file is no configuration.

    Raises FaultError "config" naming file, line and key, with the nearest right one.
    """
    named = path is not None
    path = path or folder() / "config.toml"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        if named:
            raise FaultError(
                "config", f"There is no file {path}.", "`cttui config --sample` prints one."
            ) from None
        return Config()
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
        raise FaultError("config", f"{path} could not be read: {why}.") from e
    return parse(text, path)


def parse(text: str, path: Path) -> Config:
    """The configuration in `text`. Raises FaultError "config"."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise FaultError(
            "config", f"{path}: {e}.", "The file is TOML; `cttui config --sample` prints a right one."
        ) from e
    values: dict[str, Any] = {}
    keys: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            if name not in _SECTIONS:
                raise _unknown(text, path, f"[{name}]", name, {section: section for section in _SECTIONS})
            for inner, inner_value in value.items():
                if name == "keys":
                    keys[inner] = _keys(text, path, inner, inner_value)
                else:
                    values[f"{name}.{inner}"] = _value(text, path, f"{name}.{inner}", inner, inner_value)
        else:
            values[name] = _value(text, path, name, name, value)
    return Config(values, keys, path)


def override(config: Config, words: Sequence[str]) -> Config:
    """The configuration with settings given as `NAME=VALUE` on the command line, which win over the file.

    Text needs no quotes there, and a list is words between commas. Raises FaultError "config".
    """
    values, keys = dict(config.values), dict(config.keys)
    for word in words:
        name, _, given = word.partition("=")
        if name.startswith("keys."):
            keys[name.removeprefix("keys.")] = given
            continue
        default = _BY_NAME[name].default if name in _BY_NAME else ""
        value: object = given
        if isinstance(default, list):
            value = [one.strip() for one in given.split(",") if one.strip()]
        elif not isinstance(default, str):
            try:
                value = tomllib.loads(f"value = {given}")["value"]
            except tomllib.TOMLDecodeError:
                pass  # then it is of another type, which is said
        values[name] = _value("", FLAG, name, name.rpartition(".")[2], value)
    flags = frozenset(word.partition("=")[0] for word in words)
    return Config(values, keys, config.path, config.flags | flags)


def _value(text: str, path: Path, full: str, name: str, value: object) -> object:
    setting = _BY_NAME.get(full)
    where = f"{path}{_line(text, name)}: {full}"
    if setting is None:
        section = full.rpartition(".")[0]
        # A setting of another section goes by its whole name: `sort` at the top is flows.sort.
        near = {s.name: s.name if s.section == section and text else full_name(s) for s in SETTINGS[::-1]}
        raise _unknown(text, path, full, name, near)
    if isinstance(setting.default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(setting.default):
        raise FaultError(
            "config", f"{where} must be {_kind(setting.default)}, not {_shown(value)}.", setting.help
        )
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise FaultError("config", f"{where} must be a list of words.", setting.help)
    for word in value if isinstance(value, list) else [value]:
        if setting.choices and word not in setting.choices:
            nearest = difflib.get_close_matches(str(word), setting.choices, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise FaultError(
                "config",
                f"{where} may be {', '.join(setting.choices)}, not {_shown(word)}.{hint}",
                setting.help,
            )
    if isinstance(value, int | float) and not isinstance(value, bool):
        if setting.least is not None and value < setting.least:
            raise FaultError("config", f"{where} must be at least {setting.least:g}.", setting.help)
        if setting.most is not None and value > setting.most:
            raise FaultError("config", f"{where} must be at most {setting.most:g}.", setting.help)
    return value


def _keys(text: str, path: Path, name: str, value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, str):
        return value
    raise FaultError(
        "config",
        f"{path}{_line(text, name)}: keys.{name} must be a key or a list of keys.",
        'e.g. freeze = "space,p"',
    )


def _unknown(text: str, path: Path, full: str, name: str, known: Mapping[str, str]) -> FaultError:
    """`known`: what may be meant → how it is written."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {known[near[0]]}?" if near else f"Known here: {', '.join(known.values())}."
    return FaultError("config", f"{path}{_line(text, name)}: there is no setting {full}.", hint)


def _line(text: str, name: str) -> str:
    """`:N`, the line on which `name` is set, "" where it is not found (tomllib gives no positions)."""
    for number, line in enumerate(text.splitlines(), 1):
        word = line.split("=", 1)[0].strip().strip("[]").strip("\"' ")
        if word == name or word.endswith("." + name):
            return f":{number}"
    return ""


def _kind(default: object) -> str:
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, int):
        return "a whole number"
    if isinstance(default, float):
        return "a number"
    return "a list of words" if isinstance(default, list) else "text in quotes"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return _shown(value)


def sample() -> str:
    """A commented file with every setting at its default: valid as it stands, changing nothing."""
    lines = [
        f"# cttui: {folder() / 'config.toml'}",
        "# Every setting with its default; take the # off to change one.",
        "",
    ]
    section = ""
    for setting in SETTINGS:
        if setting.section != section:
            section = setting.section
            lines += [f"[{section}]", ""]
        lines += [f"# {setting.help}", f"# {setting.name} = {_toml(setting.default)}", ""]
    lines += [
        "[keys]",
        "# Other keys for an action, by its id (docs/keys.md lists them).",
        '# freeze = "space,p"',
        "",
    ]
    return "\n".join(lines)
