"""Every kind of fault changes what it says and nothing else, and ends when it ends."""

import dataclasses
import inspect
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_fakes import JOINTS, HandClock, RecordingLink, reading, robot_file, same, stiff

from hardware.base import Lifecycle, RobotDriver
from hardware.faults import KINDS, FaultInjector, fault_table, parse_fault
from robolearn.config import ConfigError
from robolearn.deploy.safety import Safety
from robolearn.deploy.types import JointCommand, RobotState

DT = 0.005
START, END = 5, 25  # the packets that a fault touches
LOSING = {"no_state", "dropped_packets", "delayed_state", "command_lost", "command_delayed"}
REQUIRED = {"joints_swapped": {"first": "hip", "second": "ankle"}}
PER_JOINT = [name for name, kind in KINDS.items() if "joint" in kind.parameters]
WRONG_ROBOT = [kind for kind in KINDS.values() if kind.channel == "state" and kind.name not in LOSING]


def through(kind, count=40, seed=0, **parameters):
    """Send ``count`` packets at 200 Hz with a fault over START to END; return what went in and what came out."""
    clock, link = HandClock(), RecordingLink()
    injector = FaultInjector(link, clock, seed)
    injector.inject(kind, clock.now() + (START - 0.5) * DT, (END - START) * DT, **(REQUIRED.get(kind, {}) | parameters))
    before, after = [], []
    for i in range(count):
        if KINDS[kind].channel == "state":
            before.append(reading(sequence=100 + i, stamp=clock.now()))
            link.mailbox.append(before[-1])
            after.append(injector.read())
        else:
            before.append(stiff(torque=np.array([0.1, 0.2, 0.3]) + i))
            link.sent.clear()
            injector.send(before[-1])
            after.append(link.sent[0] if link.sent else None)
        clock.wait(DT)
    return before, after


def changed(before, after):
    """Names of the fields that differ in any packet."""
    names = set()
    for a, b in zip(before, after, strict=True):
        for name in type(a).__slots__:
            if not np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True):
                names.add(name)
    return names


def test_there_are_enough_kinds():
    assert len(KINDS) >= 25


def test_without_faults_nothing_is_changed(clock, link):
    injector = FaultInjector(link, clock)
    packet, command = reading(), stiff()
    link.mailbox.append(packet)
    assert injector.read() is packet
    assert injector.read() is None
    injector.send(command)
    assert link.sent == [command]
    assert injector.motors is link.motors
    injector.open()
    injector.close()
    assert link.calls == ["open", "close"]


@pytest.mark.parametrize("kind", KINDS)
def test_before_and_after_the_fault_all_is_as_it_was(kind):
    before, after = through(kind)
    for i in (*range(START), *range(END, len(before))):
        assert after[i] is before[i]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - LOSING))
def test_a_fault_changes_what_it_says_and_nothing_else(kind):
    before, after = through(kind)
    during = slice(START + 1, END)  # a frozen reading is its own first repetition
    assert changed(before[during], after[during]) == set(KINDS[kind].changes)


@pytest.mark.parametrize("kind", sorted(LOSING))
def test_a_lost_or_late_packet_says_that_it_changes_no_field(kind):
    assert KINDS[kind].changes == ()


@pytest.mark.parametrize("kind", PER_JOINT)
@pytest.mark.parametrize("joint", range(3))
def test_a_fault_of_one_joint_spares_the_others(kind, joint):
    before, after = through(kind, joint=JOINTS[joint])
    others = [i for i in range(3) if i != joint]
    touched = False
    for a, b in zip(before[START + 1 : END], after[START + 1 : END], strict=True):
        for name in KINDS[kind].changes:
            np.testing.assert_array_equal(getattr(a, name)[others], getattr(b, name)[others])
            touched |= not np.array_equal(getattr(a, name)[joint], getattr(b, name)[joint])
    assert touched


@pytest.mark.parametrize("kind", KINDS)
def test_the_true_packet_is_never_written_to(kind):
    """The wrapped link may keep using its arrays."""
    before, _ = through(kind)
    fresh = (
        [reading(sequence=100 + i, stamp=packet.stamp) for i, packet in enumerate(before)]
        if KINDS[kind].channel == "state"
        else [stiff(torque=np.array([0.1, 0.2, 0.3]) + i) for i in range(len(before))]
    )
    assert all(same(a, b) for a, b in zip(before, fresh, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_faults(kind):
    first, second = through(kind, seed=3)[1], through(kind, seed=3)[1]
    assert all((a is None and b is None) or same(a, b) for a, b in zip(first, second, strict=True))


def middle(kind, **parameters):
    before, after = through(kind, **parameters)
    return before[15], after[15]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("nan_position", "position", math.nan),
        ("nan_velocity", "velocity", math.nan),
        ("nan_torque", "torque", math.nan),
        ("infinite_position", "position", math.inf),
        ("joint_over_limit", "position", 7.0),
        ("over_torque", "torque", 500.0),
        ("over_temperature", "temperature", 120.0),
    ],
)
def test_overwritten_values(kind, field, value):
    np.testing.assert_array_equal(getattr(middle(kind)[1], field), np.full(3, value))
    np.testing.assert_array_equal(getattr(middle(kind, joint="knee")[1], field)[1], value)


def test_values_of_the_base():
    assert np.isnan(middle("nan_orientation")[1].orientation).all()
    assert np.isnan(middle("nan_angular_velocity")[1].angular_velocity).all()
    assert middle("battery_low")[1].battery == 0.15
    assert middle("battery_critical")[1].battery == 0.03
    assert np.linalg.norm(middle("non_unit_quaternion", norm=0.7)[1].orientation) == pytest.approx(0.7)


def test_added_values():
    for kind, field, amount in (("position_jump", "position", 0.5), ("velocity_spike", "velocity", 100.0)):
        before, after = middle(kind)
        np.testing.assert_allclose(getattr(after, field) - getattr(before, field), amount)


def test_a_bias_drifts_in_without_a_jump():
    before, after = through("position_bias", bias=0.2, ramp=10 * DT)
    error = np.array([b.position[0] - a.position[0] for a, b in zip(before, after, strict=True)])
    expected = np.clip((np.arange(40) - START) / 10, 0, 1) * 0.2
    expected[END:] = 0
    np.testing.assert_allclose(error, expected, atol=1e-12)
    np.testing.assert_allclose(through("position_bias", bias=0.2, ramp=0.0)[1][START].position[0], 0.1 + 0.105 + 0.2)


def test_signs_and_swaps():
    before, after = middle("encoder_sign", joint="knee")
    np.testing.assert_array_equal(after.position, before.position * [1, -1, 1])
    np.testing.assert_array_equal(after.velocity, before.velocity * [1, -1, 1])
    before, after = middle("imu_axis_flipped", axis="x")
    np.testing.assert_array_equal(after.orientation, before.orientation * [1, -1, 1, 1])
    np.testing.assert_array_equal(after.angular_velocity, before.angular_velocity * [-1, 1, 1])
    np.testing.assert_array_equal(after.acceleration, before.acceleration * [-1, 1, 1])
    before, after = middle("joints_swapped")
    for field in ("position", "velocity", "torque", "temperature"):
        np.testing.assert_array_equal(getattr(after, field), getattr(before, field)[[2, 1, 0]])


def test_frozen_readings():
    before, after = through("frozen_state")
    for i in range(START, END):
        assert same(after[i], dataclasses.replace(before[START], stamp=before[i].stamp))
    before, after = through("frozen_data")
    for i in range(START, END):
        assert same(after[i], dataclasses.replace(before[START], stamp=before[i].stamp, sequence=before[i].sequence))


def test_lost_readings():
    assert through("no_state")[1][START:END] == [None] * (END - START)
    assert through("dropped_packets", share=1.0)[1][START:END] == [None] * (END - START)
    assert None not in through("dropped_packets", share=0.0)[1]
    lost = sum(packet is None for packet in through("dropped_packets", share=0.5)[1])
    assert 4 <= lost <= 16  # of 20


def test_late_readings_carry_the_stamp_of_their_arrival():
    before, after = through("delayed_state", seconds=4 * DT)
    assert after[START : START + 4] == [None] * 4, "the gap that can be seen"
    for i in range(START + 4, END):
        assert same(after[i], dataclasses.replace(before[i - 4], stamp=after[i].stamp))
        assert after[i].stamp == pytest.approx(before[i].stamp)


def test_a_late_reading_arrives_even_when_no_other_follows(clock, link):
    injector = FaultInjector(link, clock)
    injector.inject("delayed_state", seconds=0.02)
    link.mailbox.append(reading(sequence=5))
    arrived = []
    for _ in range(6):
        arrived.append(injector.read())
        clock.wait(DT)
    assert [packet and packet.sequence for packet in arrived] == [None] * 4 + [5, None]


def test_sequence_and_time_run_backwards():
    before, after = through("sequence_backwards")
    numbers = [packet.sequence for packet in after[START - 1 : END]]
    assert all(b < a for a, b in itertools.pairwise(numbers))
    before, after = through("stamp_backwards")
    stamps = [packet.stamp for packet in after[START - 1 : END]]
    assert all(b < a for a, b in itertools.pairwise(stamps))
    assert all(b.stamp < a.stamp for a, b in zip(before[START:END], after[START:END], strict=True))


def test_noise_has_its_deviation():
    before, after = through("noise", position=0.1, velocity=2.0, rate=0.5)
    for field, deviation in (("position", 0.1), ("velocity", 2.0), ("angular_velocity", 0.5)):
        errors = [getattr(b, field) - getattr(a, field) for a, b in zip(before, after, strict=True)][START:END]
        assert 0.7 * deviation < np.std(errors) < 1.3 * deviation


def test_motors_without_torque():
    before, after = middle("motor_off", joint="hip")
    for field in ("kp", "kd", "torque"):
        np.testing.assert_array_equal(getattr(after, field), getattr(before, field) * [0, 1, 1])
    _, after = middle("power_loss")
    assert not np.any([after.kp, after.kd, after.torque])


def test_lost_and_late_commands():
    assert through("command_lost")[1][START:END] == [None] * (END - START)
    before, after = through("command_delayed", seconds=3 * DT)
    assert after[START : START + 3] == [None] * 3
    assert after[START + 3 : END] == before[START : END - 3]


def test_over_temperature_of_a_robot_that_reports_none(clock, link):
    injector = FaultInjector(link, clock)
    injector.inject("over_temperature", joint="knee", celsius=99.0)
    link.mailbox.append(reading(temperature=np.zeros(0)))
    np.testing.assert_array_equal(injector.read().temperature, [40.0, 99.0, 40.0])


@given(st.lists(st.sampled_from(sorted(set(KINDS) - set(REQUIRED))), min_size=1, max_size=5))
def test_any_faults_together_end_together(kinds):
    clock, link = HandClock(), RecordingLink()
    injector = FaultInjector(link, clock)
    for kind in kinds:
        injector.inject(kind, duration=0.02)
    for i in range(8):
        packet = reading(sequence=i, stamp=clock.now())
        link.mailbox.append(packet)
        arrived = injector.read()
        injector.send(stiff())
        assert len(injector.active()) == (len(kinds) if clock.now() < 10.02 else 0)
        if clock.now() >= 10.02:
            assert arrived is packet
        clock.wait(DT)


def test_moments_and_clearing(clock, link):
    injector = FaultInjector(link, clock)
    now = injector.inject("no_state")
    later = injector.inject("no_state", start=clock.now() + 1.0, duration=0.5)
    assert (now.start, now.end) == (10.0, math.inf)
    assert (later.start, later.end) == (11.0, 11.5)
    assert injector.active() == (now,)
    clock.wait(1.2)
    assert injector.active() == (now, later)
    clock.wait(0.3)
    assert injector.active() == (now,)
    injector.clear()
    assert injector.active() == ()


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("nan_postion", {}, "unknown fault 'nan_postion'. Did you mean 'nan_position'"),
        ("no_state", {"joint": "hip"}, "unknown parameter 'joint'"),
        ("motor_off", {"joint": "hpi"}, "no joint 'hpi'. Did you mean 'hip'"),
        ("joints_swapped", {"first": "hip"}, "'second' is missing"),
        ("delayed_state", {"seconds": 0.0}, "seconds must be positive"),
        ("command_delayed", {"seconds": math.nan}, "seconds must be positive"),
        ("dropped_packets", {"share": 1.5}, "share must be from 0 to 1"),
        ("imu_axis_flipped", {"axis": "w"}, "axis must be x, y or z"),
        ("no_state", {"duration": 0.0}, "duration must be positive"),
    ],
)
def test_what_cannot_be_injected_is_refused(clock, link, kind, arguments, message):
    with pytest.raises(ConfigError, match=message):
        FaultInjector(link, clock).inject(kind, **arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON object"),
        ("[1, 2]", "the entry 'kind'"),
        ('{"joint": "hip"}', "the entry 'kind'"),
        ('{"kind": "motor_of"}', "Did you mean 'motor_off'"),
        ('{"kind": "motor_off", "joint": "hop"}', "Did you mean 'hip'"),
        ('{"kind": "motor_off", "start": "now"}', "fault .*: could not convert"),
        ('{"kind": "motor_off", "duration": 0}', "duration must be positive"),
        ('{"kind": ["motor_off"]}', "fault"),
    ],
)
def test_a_fault_in_words_is_tried_before_it_counts(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_fault(text, JOINTS)


def test_a_fault_in_words_becomes_the_arguments_of_an_injection(clock, link):
    data = parse_fault('{"kind": "motor_off", "joint": "hip", "start": 3.5}', JOINTS)
    fault = FaultInjector(link, clock).inject(**data)
    assert (fault.kind.name, fault.start, fault.parameters["joint"]) == ("motor_off", 3.5, "hip")


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_kind_describes_itself(kind):
    packet = RobotState if kind.channel == "state" else JointCommand
    assert set(kind.changes) <= set(packet.__slots__)
    assert set(kind.seen_by) <= {field.name for field in dataclasses.fields(Safety)}
    assert kind.description
    assert "|" not in kind.description
    assert kind.seen_by or kind.name == "noise", "a fault that none sees must be one that harms none"
    for name, value in kind.parameters.items():
        assert value is not inspect.Parameter.empty or name in REQUIRED[kind.name]


def test_the_page_has_the_table_of_the_code():
    page = Path(__file__).parents[2] / "docs" / "hardware.md"
    assert fault_table() in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", WRONG_ROBOT, ids=lambda kind: kind.name)
def test_no_wrong_reading_stops_the_driver(kind, clock, link):
    """What a reading says is the monitor's to judge; the driver only refuses what it cannot sort into joints."""
    injector = FaultInjector(link, clock)
    with RobotDriver(injector, robot_file(), clock) as driver:
        driver.activate()
        injector.inject(kind.name, **REQUIRED.get(kind.name, {}))
        for i in range(5):
            link.mailbox.append(reading(sequence=i, stamp=clock.now()))
            driver.read_state()
            assert same(driver.write_command(stiff()), stiff())
            clock.wait(DT)
        assert driver.state is Lifecycle.ACTIVE
