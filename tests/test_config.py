"""The configuration file: what it takes, and how precisely it says what it does not."""

from pathlib import Path

import pytest

from cttui.client import config
from cttui.model.faults import FaultError
from cttui.model.filters import SORT_KEYS
from cttui.ui.widgets.flow_columns import COLUMNS

FILE = Path("/etc/somewhere/config.toml")


def fault(text: str) -> str:
    with pytest.raises(FaultError) as caught:
        config.parse(text, FILE)
    assert caught.value.fault.code == "config"
    return f"{caught.value.fault.sentence} {caught.value.fault.remedy}"


def test_sample_is_valid_and_changes_nothing() -> None:
    assert config.parse(config.sample(), FILE).values == {}
    assert config.parse(config.sample(), FILE).keys == {}


def test_sample_uncommented_is_every_default() -> None:
    lines = [
        line[2:] if line.startswith("# ") and " = " in line and not line.endswith(".") else line
        for line in config.sample().splitlines()
    ]
    parsed = config.parse("\n".join(lines), FILE)
    for setting in config.SETTINGS:
        assert parsed[config.full_name(setting)] == setting.default, setting
    assert parsed.keys == {"freeze": "space,p"}


def test_defaults_where_nothing_is_said() -> None:
    parsed = config.parse("rate_hz = 2", FILE)
    assert parsed["rate_hz"] == 2.0 and isinstance(parsed["rate_hz"], float)
    assert parsed["mouse"] is True
    assert parsed["flows.sort"] == "newest"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('theem = "dark"', ["config.toml:1", "theem", "Did you mean theme?"]),
        ('\n[flow]\nsort = "age"', ["config.toml:2", "[flow]", "Did you mean flows?"]),
        ('[flows]\nsrot = "age"', ["config.toml:2", "flows.srot", "Did you mean sort?"]),
        ("rate_hz = 40", ["at most 4"]),
        ("rate_hz = true", ["must be a number", "not true"]),
        ('mouse = "no"', ["must be true or false", '"no"']),
        ('unfocused = "slwo"', ["slow, idle, live", "Did you mean slow?"]),
        ("[flows]\ncolumns = [1]", ["list of words"]),
        ('[flows]\ncolumns = ["src", "dts"]', ['not "dts"', "Did you mean dst?"]),
        ('[flows]\nsort = "newst"', ['not "newst"', "Did you mean newest?"]),
        ('sort = "age"', ["config.toml:1", "no setting sort", "Did you mean flows.sort?"]),
        ("[burst]\ncount = 0", ["at least 1"]),
        ("[keys]\nfreeze = 3", ["config.toml:2", "keys.freeze"]),
        ("theme = \nmouse = true", ["line 1"]),
    ],
)
def test_a_slip_is_named_with_its_place(text: str, says: list[str]) -> None:
    sentence = fault(text)
    for word in says:
        assert word in sentence


def test_every_setting_can_be_given_as_a_flag() -> None:
    before = config.parse('theme = "paper"\nlow_bandwidth = true\n[keys]\nfreeze = "p"', FILE)
    words = ["low_bandwidth=false", "flows.columns=src, dst", "burst.count=7", "rate_hz=2", "keys.copy=c"]
    after = config.override(before, [*words, "burst.line=IP()/UDP(dport=53)"])
    assert (after["theme"], after["low_bandwidth"], after["rate_hz"]) == ("paper", False, 2.0)
    assert (after["flows.columns"], after["burst.count"]) == (["src", "dst"], 7)
    assert after["burst.line"] == "IP()/UDP(dport=53)", "an equals sign in the value is the value's"
    assert after.keys == {"freeze": "p", "copy": "c"}
    for setting in config.SETTINGS:
        text = ",".join(setting.default) if isinstance(setting.default, list) else config._toml(setting.default).strip('"')  # fmt: skip
        given = config.override(config.Config(), [f"{config.full_name(setting)}={text}"])
        assert given[config.full_name(setting)] == setting.default


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("flows.srot=age", ["--set: there is no setting flows.srot", "Did you mean flows.sort?"]),
        ("sort=age", ["Did you mean flows.sort?"]),
        ("zzz=1", ["target", "flows.columns"]),
        ("rate_hz=fast", ["--set: rate_hz must be a number, not"]),
        ("rate_hz", ["--set: rate_hz must be a number"]),
        ("rate_hz=9", ["--set: rate_hz must be at most 4"]),
        ("unfocused=slwo", ["--set: unfocused may be", "Did you mean slow?"]),
    ],
)
def test_a_wrong_flag_is_named(word: str, said: list[str]) -> None:
    with pytest.raises(FaultError) as caught:
        config.override(config.Config(), [word])
    for part in said:
        assert part in f"{caught.value.fault.sentence} {caught.value.fault.remedy}"


def test_words_for_flows_are_the_ones_that_flows_know() -> None:
    may_be = {config.full_name(setting): setting.choices for setting in config.SETTINGS}
    assert may_be["flows.columns"] == tuple(column.id for column in COLUMNS)
    assert may_be["flows.sort"] == tuple(SORT_KEYS)


def test_no_file_is_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config.load().values == {}
    (tmp_path / "cttui").mkdir()
    (tmp_path / "cttui/config.toml").write_text('theme = "paper"\n[keys]\nfreeze = ["space", "p"]\n')
    assert config.load()["theme"] == "paper"
    assert config.load().keys == {"freeze": "space,p"}


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="no file"):
        config.load(tmp_path / "none.toml")


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(FaultError, match="not UTF-8"):
        config.load(tmp_path / "c.toml")
