import json
import math
import time

import common
import pytest


def test_contenders_take_turns():
    order = []

    def turn(name, speed):
        order.append(name)
        return speed

    speeds = common.take_turns({"a": lambda: turn("a", 2.0), "b": lambda: turn("b", 4.0)}, 3)
    assert order == ["a", "b"] * 3
    assert speeds == {"a": [2.0] * 3, "b": [4.0] * 3}


def test_the_result_is_the_median_of_the_ratios_not_the_ratio_of_medians():
    """The machine is three times as fast in the last turn: the ratios do not see it."""
    report = common.Report("x", {}, "steps/s", speeds={"a": [9.0, 8.0, 30.0], "b": [10.0, 10.0, 30.0]})
    ratio = report.compare("a", "b", 0.85)
    assert ratio.values == pytest.approx([0.9, 0.8, 1.0])
    assert ratio.median == pytest.approx(0.9)
    assert ratio.text() == "0.90 (0.80 to 1.00)"
    plain = report.as_dict()["ratios"][0]
    assert (plain["min"], plain["max"], plain["aim"]) == pytest.approx((0.8, 1.0, 0.85))


def test_turns_that_do_not_pair_up_are_refused():
    report = common.Report("x", {}, "steps/s", speeds={"a": [1.0, 2.0], "b": [1.0]})
    with pytest.raises(ValueError):
        report.compare("a", "b")


def test_timed_counts_units_per_second(monkeypatch):
    clock = iter([10.0, 12.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert common.timed(lambda: None, 100.0) == 40.0


def test_tables_are_markdown():
    assert common.table([{"n": 1, "speed": "fast"}, {"n": 100, "speed": "slow"}]) == [
        "| n   | speed |",
        "| --- | ----- |",
        "| 1   | fast  |",
        "| 100 | slow  |",
    ]


def test_the_machine_is_described_but_not_named():
    import platform

    text = json.dumps(common.machine())
    assert "torch" in text and str(common.cores()) in text
    assert platform.node() not in text


def test_reports_of_one_machine_share_one_table(tmp_path, capsys):
    first = common.Report("one", {}, "u", {"a": [1.0, 2.0], "b": [2.0, 2.0]}, notes=["Note."])
    first.compare("a", "b", 0.5)
    second = common.Report("two", {}, "u", rows=[{"environments": 16, "cost": 3}], machine=dict(first.machine))
    second.machine["load"] = "99"
    paths = []
    for report in (first, second):
        paths.append(tmp_path / f"{report.name}.json")
        paths[-1].write_text(json.dumps(report.as_dict()))
    assert common.main(["--table", *map(str, paths)]) == 0
    out = capsys.readouterr().out
    assert "| one       | a        | b  | 0.75 (0.50 to 1.00) | 0.5 | 2     | 1       |" in out
    assert "| 16           | 3    |" in out and "one: Note." in out
    assert "Machine 1:" in out and "Machine 2:" not in out


def test_a_quick_run_takes_one_thread():
    assert common.parse(common.parser("x"), ["--quick"]).threads == 1
    assert common.parse(common.parser("x"), []).threads == common.cores()
    assert common.parse(common.parser("x"), ["--quick", "--threads", "3"]).threads == 3


def test_walking_needs_both_terms_over_ten_iterations():
    from time_to_walk import TERMS, WalkMeter

    meter = WalkMeter(0.8)
    linear, yaw = TERMS
    for _ in range(9):
        assert not meter.walks({linear: 1.0, yaw: 1.0})
        assert math.isnan(meter.tracking)
    assert meter.walks({linear: 0.0, yaw: 0.0})  # (9 * 1 + 0) / 10 = 0.9
    assert meter.tracking == pytest.approx(0.9)
    assert meter.walks({linear: 0.2, yaw: -0.2})  # (8 + 0 + 0) / 10
    assert not meter.walks({linear: 0.9, yaw: 0.9})  # (7 + 0 + 0 + 0.9) / 10
    assert meter.tracking == pytest.approx(0.79)
    assert meter.best == pytest.approx(0.9)
