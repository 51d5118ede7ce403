"""What is remembered between runs."""

from pathlib import Path

from cttui.client import memory


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    m = memory.Memory(
        columns=["proto", "src"], sort="age", descending=False, theme="paper", widths={"src": 40}
    )
    m.add_filter("dport=80")
    m.bursts["flood"] = memory.SavedBurst('IP(src=RandIP())/TCP(flags="S")', 1000, 0.0, 7)
    assert memory.save(m, path)
    assert memory.load(path) == m
    assert [p.name for p in path.parent.iterdir()] == ["state.json"]


def test_broken_or_missing_is_empty(tmp_path: Path) -> None:
    assert memory.load(tmp_path / "none") == memory.Memory()
    (tmp_path / "state.json").write_text('{"columns": 3')
    assert memory.load(tmp_path / "state.json") == memory.Memory()
    (tmp_path / "state.json").write_text('{"columns": 3}')
    assert memory.load(tmp_path / "state.json") == memory.Memory()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not memory.save(memory.Memory(), tmp_path / "file" / "state.json")


def test_filters_are_kept_once_latest_first() -> None:
    m = memory.Memory()
    for text in ("a", "b", "a", "", "c"):
        m.add_filter(text)
    assert m.filters == ["c", "a", "b"]
    for i in range(100):
        m.add_filter(str(i))
    assert len(m.filters) == memory.MOST_FILTERS
