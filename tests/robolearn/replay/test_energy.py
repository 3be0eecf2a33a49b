"""What the drives used, mode by mode: against powers that were chosen, so that it can be done by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from robolearn.deploy.modes import Mode
from robolearn.replay import report
from robolearn.replay.energy import consumption
from robolearn.replay.packets import Series
from robolearn.replay.recording import load, mode_spans
from robolearn.replay.summary import summarize

WATTS = {Mode.IDLE: 0.0, Mode.STAND: 12.0, Mode.READY: 5.0, Mode.POLICY: 20.0, Mode.ESTOP: 3.0}


def counted(recording, watts):
    """A counter whose power is ``watts(mode)`` over the cycle that ends in a mode."""
    time = recording.states.time
    modes = [next(mode for begin, _, mode in reversed(mode_spans(recording)) if t >= begin - 1e-9) for t in time]
    power = np.array([watts[mode] for mode in modes])
    energy = 100.0 + np.concatenate([[0.0], np.cumsum(power[1:] * np.diff(time))])
    return Series(time, time, {"cycle": time[:, None], "power": power[:, None], "energy": energy[:, None]})


@pytest.fixture(scope="module")
def recording(bag):
    """The robot is asked for 0.5 m/s while the policy walks."""
    found = load(bag)
    followed = np.tile([0.3, 0.4, 0.7], (len(found.ticks), 1))
    ticks = replace(found.ticks, fields={**found.ticks.fields, "followed": followed})
    return replace(found, power=counted(found, WATTS), ticks=ticks)


def test_energy_and_power_by_mode(recording):
    found = {each.mode: each for each in consumption(recording)}
    spans = {mode: end - begin for begin, end, mode in mode_spans(recording)}
    assert list(found) == [*spans, None]
    for mode, watts in WATTS.items():
        assert found[mode].mean == pytest.approx(watts)
        assert found[mode].peak == pytest.approx(watts)
        assert found[mode].energy == pytest.approx(watts * found[mode].seconds)
        assert found[mode].seconds == pytest.approx(spans[mode], abs=0.0051)
    total = found[None]
    assert total.energy == pytest.approx(sum(found[mode].energy for mode in WATTS))
    assert total.seconds == pytest.approx(recording.duration)
    assert total.peak == pytest.approx(20.0)


def test_energy_per_metre_is_power_by_speed(recording):
    found = {each.mode: each for each in consumption(recording)}
    assert found[Mode.POLICY].per_metre == pytest.approx(20.0 / 0.5)
    assert all(math.isnan(found[mode].per_metre) for mode in WATTS if mode is not Mode.POLICY)
    slow = recording.ticks["followed"] * [0.05, 0.05, 1.0]  # standing costs energy too, but goes nowhere
    ticks = replace(recording.ticks, fields={**recording.ticks.fields, "followed": slow})
    assert all(math.isnan(each.per_metre) for each in consumption(replace(recording, ticks=ticks)))


def test_lost_messages_lose_no_energy(recording):
    power, kept = recording.power, np.arange(len(recording.power)) % 3 == 0
    kept[[0, -1]] = True
    thin = Series(power.time[kept], power.arrival[kept], {name: v[kept] for name, v in power.fields.items()})
    whole, part = (consumption(each)[-1] for each in (recording, replace(recording, power=thin)))
    assert part.energy == pytest.approx(whole.energy)
    assert part.seconds == pytest.approx(whole.seconds)


def test_a_counter_that_began_anew_is_no_negative_energy(recording):
    power = recording.power
    energy = power["energy"].copy()
    energy[500:] -= energy[500]
    again = replace(power, fields={**power.fields, "energy": energy})
    lost = power["energy"][500, 0] - power["energy"][499, 0]
    assert consumption(replace(recording, power=again))[-1].energy == pytest.approx(
        consumption(recording)[-1].energy - lost
    )


def test_the_words(recording):
    text = report.overview(recording, summarize(recording))
    (line,) = (line for line in text.splitlines() if line.split()[:1] == ["policy"] and "40.0" in line)
    assert line.split()[3:] == ["20.0", "20.0", "40.0"]
    assert "in total" in text


def test_recordings_from_before_there_was_a_counter(recording):
    old = replace(recording, power=Series())
    assert consumption(old) == ()
    assert "mechanical energy" not in report.overview(old, summarize(old))
