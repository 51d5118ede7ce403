"""Rates from samples: what is read more rarely than sampled must not be none in one and too much in the next."""

from cttui.probe.counters import Counters


def _take(counters: Counters, at_s: float, new: int, dumped_at: float | None, *, exact: bool = False) -> None:
    counters.take(counters.read(at_s, new, 0, exact, dumped_at))


def test_new_flows_of_a_dump_are_spread_over_the_time_between_dumps() -> None:
    counters = Counters(dict, dict)
    seen = []
    # Ten flows a second, a dump every two seconds, a sample every second.
    for second in range(8):
        dumped = second - second % 2 + 0.1
        _take(counters, second + 0.5, 100 + 10 * (second - second % 2), dumped)
        seen.append(counters.rates.get("new"))
    assert seen[:2] == [None, None]  # what the first dump found isn't new
    assert all(rate is not None and abs(rate - 10) < 1e-9 for rate in seen[2:])


def test_a_table_not_read_again_yet_goes_on_at_the_rate_known() -> None:
    counters = Counters(dict, dict)
    for at, new, dumped in ((1, 0, 0.9), (2, 50, 1.9), (3, 50, 1.9), (4, 50, 3.9)):
        _take(counters, at, new, dumped)
        if at == 3:
            assert abs(counters.rates["new"] - 50) < 1e-6
    assert counters.rates["new"] == 0


def test_rates_with_events_are_of_the_samples() -> None:
    counters = Counters(dict, dict)
    for at, new in ((0, 0), (1, 7), (2, 7)):
        _take(counters, at, new, None, exact=True)
        if at == 1:
            assert counters.rates["new"] == 7
    assert counters.rates["new"] == 0
    _take(counters, 3, 7, 2.5)  # events detached: no two dumps yet
    assert "new" not in counters.rates
