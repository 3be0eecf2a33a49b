"""Every check, alone: it trips at the right tick, not just below its threshold, and says why."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest

from robolearn.deploy.checks import CHECKS, DRIVEN_ONLY, POLICY_ONLY, Reaction, Reason
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.safety import Safety

from .kit import POSE, D, J, Rig, make_policy, only

TILTED = {angle: np.array([math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0]) for angle in (0.99, 1.01, 1.39, 1.41)}
LEVEL = np.array([1.0, 0.0, 0.0, 0.0])


@dataclass
class Case:
    """What to feed (``bad`` and ``good`` make the arguments of a tick), and the tick of ``bad`` that must trip."""

    reason: Reason
    bad: Any
    good: Any
    ticks: int
    after: Mode = Mode.DAMPING
    mode: Mode = Mode.READY
    prepare: Any = lambda rig: None
    name: str = field(default="")

    def __str__(self):
        return f"{self.reason}{self.name}"


def always(**what):
    return lambda rig, i: what


def every(count, bad, otherwise):
    """``bad``, but ``otherwise`` in every ``count``-th tick."""
    return lambda rig, i: (otherwise if i % count == count - 1 else bad)(rig, i)


def target(value):
    return {"joint_target": np.array([value, -0.3])}


def hold(value):
    """The policy has blended in fully and holds a target."""
    return lambda rig: rig.run(80, result=target(value))


def sag(rig):
    """The joint is pushed half a radian away from its target, slowly."""
    hold(0.95)(rig)
    for i in range(25):
        rig.tick(state={"position": np.array([0.95 - 0.02 * i, -0.3])}, result=target(0.95))


def sagging(velocity):
    return lambda rig, i: {
        "state": {"position": np.array([0.45 + 1e-6 * i, -0.3]), "velocity": np.array([velocity, 0.0])},
        "result": target(0.95),
    }


def mark(rig):
    rig.mark = rig.ticks


def start_policy(rig):
    assert rig.ask(Request.START_POLICY).accepted


def sees(value):
    return {"observation": np.array([0.0, value, 0.0], dtype=np.float32)}


def state(**what):
    return always(state=what)


def fine(rig, i):
    return {}


def at(value):
    return np.array([value, 0.0])


def at3(value):
    return np.array([value, 0.0, 0.0])


def turning(rate):
    """The base turns with 1 rad/s about its x axis, and the gyroscope says ``rate``."""

    def what(rig, i):
        half = 0.005 * i
        orientation = np.array([math.cos(half), math.sin(half), 0.0, 0.0])
        return {"state": {"orientation": orientation, "angular_velocity": at3(rate)}}

    return what


NAN, INF = math.nan, math.inf
BAD_COMMAND = always(command=np.array([NAN, 0.0]))
CASES = [
    Case(Reason.STATE_INVALID, state(position=at(NAN)), every(2, state(position=at(NAN)), fine), 2),
    Case(Reason.STATE_INVALID, state(velocity=at(INF)), every(2, state(velocity=at(INF)), fine), 2, name="-velocity"),
    Case(Reason.STATE_INVALID, state(torque=np.zeros(3)), every(2, state(torque=np.zeros(3)), fine), 2, name="-size"),
    Case(Reason.STATE_INVALID, state(orientation=[1, 0, 0, 0]), fine, 2, name="-type"),
    Case(Reason.STATE_INVALID, state(temperature=np.zeros(5)), fine, 2, name="-temperature"),
    Case(Reason.STATE_INVALID, state(stamp=NAN), fine, 2, name="-stamp"),
    Case(Reason.STATE_INVALID, state(sequence=0.5), fine, 2, name="-sequence"),
    Case(
        Reason.ACTION_INVALID,
        always(result={"joint_target": at(NAN)}),
        every(2, always(result={"joint_target": at(NAN)}), always(result={})),
        2,
        mode=Mode.POLICY,
    ),
    Case(Reason.ACTION_INVALID, always(result={"action": np.ones(3)}), fine, 2, mode=Mode.POLICY, name="-size"),
    Case(Reason.ACTION_INVALID, always(result={"stamp": INF}), fine, 2, mode=Mode.POLICY, name="-stamp"),
    Case(
        Reason.OBSERVATION_INVALID,
        always(result=sees(INF)),
        every(2, always(result=sees(INF)), always(result={})),
        2,
        mode=Mode.POLICY,
    ),
    Case(Reason.COMMAND_INVALID, BAD_COMMAND, every(2, BAD_COMMAND, fine), 2, mode=Mode.POLICY),
    Case(Reason.COMMAND_INVALID, always(command=np.zeros(3)), fine, 2, mode=Mode.POLICY, name="-size"),
    Case(
        Reason.ACTION_CLIP,
        always(result={"action": at(-10.0)}),
        always(result={"action": at(-9.99)}),
        9,
        mode=Mode.POLICY,
    ),
    Case(
        Reason.SOFT_RANGE,
        always(result=target(1.05)),
        always(result=target(0.999)),
        9,
        mode=Mode.POLICY,
        prepare=hold(0.95),
    ),
    Case(
        Reason.RATE_LIMIT,
        lambda rig, i: {"result": target(0.9 * (-1) ** i)},
        lambda rig, i: {"result": target(0.3 + 0.0999 * (i % 2))},
        9,
        mode=Mode.POLICY,
        prepare=hold(0.3),
    ),
    Case(Reason.PREDICTED_TORQUE, sagging(-15.1), sagging(-14.9), 9, mode=Mode.POLICY, prepare=sag),
    Case(
        Reason.FIRST_ACTION,
        always(result={"joint_target": POSE - 0.51}),
        always(result={"joint_target": POSE - 0.49}),
        1,
        Mode.STAND,
        prepare=start_policy,
        name="-start",
    ),
    Case(Reason.POSITION, state(position=at(1.31)), state(position=at(1.29)), 1),
    Case(Reason.POSITION, state(position=at(-1.31)), state(position=at(-1.29)), 1, name="-low"),
    Case(
        Reason.POSITION_JUMP,
        state(position=POSE + 0.25),
        lambda rig, i: {"state": {"position": POSE + 0.23 * (i % 2)}},
        1,
    ),
    Case(Reason.VELOCITY, state(velocity=at(-10.1)), state(velocity=at(-9.9)), 3),
    Case(Reason.VELOCITY, state(velocity=at(20.1)), state(velocity=at(19.9)), 3, mode=Mode.POLICY, name="-policy"),
    Case(Reason.TORQUE, state(torque=at(24.1)), state(torque=at(23.9)), 3),
    Case(Reason.TORQUE, state(torque=at(-33.1)), state(torque=at(-32.9)), 3, mode=Mode.POLICY, name="-policy"),
    Case(Reason.TRACKING, state(position=POSE + 0.51), state(position=POSE + 0.49), 11),
    Case(
        Reason.TRACKING,
        always(state={"position": at(-0.71)}, result=target(0.3)),
        always(state={"position": at(-0.69)}, result=target(0.3)),
        11,
        mode=Mode.POLICY,
        prepare=hold(0.3),
        name="-policy",
    ),
    Case(Reason.DRIVE_RESPONSE, state(torque=at(15.1)), state(torque=at(-14.9)), 9),
    Case(  # a joint that lags behind with a drive that does not pull
        Reason.DRIVE_RESPONSE,
        state(position=POSE + at(0.31)),
        every(5, state(position=POSE + at(0.31)), fine),
        9,
        name="-off",
    ),
    Case(Reason.TILT, state(orientation=TILTED[1.01]), state(orientation=TILTED[0.99]), 6),
    Case(Reason.FALL, state(orientation=TILTED[1.41]), state(orientation=TILTED[1.39]), 1),
    Case(Reason.ANGULAR_RATE, state(angular_velocity=np.full(3, 4.63)), state(angular_velocity=np.full(3, 4.61)), 1),
    Case(Reason.STATE_STALE, always(state=None), every(8, always(state=None), fine), 8),
    Case(
        Reason.STATE_FROZEN,
        lambda rig, i: {"state": {"sequence": rig.mark}},
        lambda rig, i: {"state": {"sequence": rig.ticks + 1 - (i % 8 < 7) * (i % 8 + 1)}},
        8,
        prepare=mark,
    ),
    Case(
        Reason.TIME_BACKWARDS,
        lambda rig, i: {"state": {"stamp": 50.0 - i}},
        every(8, lambda rig, i: {"state": {"stamp": rig.now - 0.1 * (i + 1)}}, fine),
        8,
        name="-stamp",
    ),
    Case(Reason.TIME_BACKWARDS, lambda rig, i: {"state": {"sequence": -i}}, fine, 8, name="-sequence"),
    Case(Reason.TIME_BACKWARDS, lambda rig, i: {"state": {"stamp": rig.now + 1}}, fine, 8, name="-future"),
    Case(Reason.TIME_BACKWARDS, always(elapsed=-0.01, state=None), fine, 8, name="-clock"),
    Case(Reason.TIME_BACKWARDS, always(elapsed=0.0, state=None), fine, 8, name="-clock-stands"),
    Case(
        Reason.IMU_FROZEN,
        state(orientation=LEVEL, angular_velocity=np.full(3, 0.1)),
        state(orientation=LEVEL, angular_velocity=np.zeros(3)),
        9,
    ),
    Case(
        Reason.IMU_FROZEN,
        lambda rig, i: {"state": {"angular_velocity": np.full(3, 5e-4), "position": POSE + 0.001 * i}},
        fine,
        9,
        name="-joints-move",
    ),
    Case(
        Reason.JOINT_FROZEN,
        state(position=POSE, velocity=at(0.3)),
        state(position=POSE, velocity=at(0.0)),
        9,
    ),
    Case(Reason.IMU_NOT_UNIT, state(orientation=LEVEL * 1.011), state(orientation=LEVEL * 1.009), 8),
    Case(Reason.IMU_NOT_UNIT, state(orientation=LEVEL * 0.0), fine, 8, name="-zero"),
    Case(Reason.IMU_DISAGREES, state(angular_velocity=at3(0.51)), state(angular_velocity=at3(0.49)), 10),
    Case(Reason.IMU_DISAGREES, turning(-1.0), turning(1.0), 10, name="-sign"),
    Case(Reason.LOOP_STALLED, always(elapsed=0.051), always(elapsed=0.049), 1),
    Case(
        Reason.POLICY_DEADLINE,
        always(result=None),
        lambda rig, i: {"result": {} if i % 3 == 0 else None},
        7,  # misses 0.032, 0.052 and 0.072 s after the last output, which was a tick ago
        mode=Mode.POLICY,
    ),
    Case(
        Reason.POLICY_DEADLINE,
        lambda rig, i: {"result": {"stamp": rig.now - 0.05}},
        fine,
        7,
        mode=Mode.POLICY,
        name="-old",
    ),
    Case(
        Reason.INFERENCE_TIME,
        always(result={"inference_time": 0.0051}),
        always(result={"inference_time": 0.0049}),
        3,
        mode=Mode.POLICY,
    ),
    Case(Reason.INFERENCE_TIME, always(result={"inference_time": NAN}), fine, 3, mode=Mode.POLICY, name="-nan"),
    Case(
        Reason.OBSERVATION_RANGE,
        always(result=sees(-2.02)),
        always(result=sees(-1.98)),
        4,
        Mode.STAND,
        mode=Mode.POLICY,
    ),
    Case(Reason.OBSERVATION_Z_SCORE, always(result=sees(1.21)), always(result=sees(1.19)), 4, mode=Mode.POLICY),
    Case(Reason.HEARTBEAT_POLICY, always(policy_age=0.151), always(policy_age=0.149), 1, mode=Mode.POLICY),
    Case(Reason.HEARTBEAT_MONITOR, always(monitor_age=0.151), always(monitor_age=0.149), 1),
    Case(Reason.HEARTBEAT_HARDWARE, always(hardware_age=0.151), always(hardware_age=0.149), 1),
    Case(Reason.HEARTBEAT_HARDWARE, always(hardware_age=NAN), always(hardware_age=0.149), 1, name="-nan"),
    Case(Reason.TEMPERATURE, state(temperature=at(85.1)), state(temperature=at(84.9)), 6),
    Case(Reason.BATTERY, state(battery=0.099), state(battery=0.101), 6),
    Case(Reason.PROCESS_FAULT, always(fault="segmentation fault"), fine, 1),
]
SPECIAL = {Reason.COMMAND_LOST, Reason.ESTOP}
"""Tested one by one below: their reaction is not a change of mode that can be switched to a warning."""


def rig_for(case, **entries):
    rig = Rig(only(case.reason, **entries)).to(case.mode)
    case.prepare(rig)
    rig.events.clear()
    return rig


def test_every_reason_has_a_case():
    assert {case.reason for case in CASES} | SPECIAL == set(Reason) == set(CHECKS)


def test_every_reason_but_estop_has_an_entry_in_the_robot_file():
    assert [entry.name for entry in fields(Safety)] != []
    assert {entry.name for entry in fields(Safety)} == {reason.value for reason in Reason} - {"estop"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_trips_at_the_right_tick_and_says_why(case):
    rig = rig_for(case)
    before = rig.mode
    for i in range(case.ticks - 1):
        rig.tick(**case.bad(rig, i))
        assert rig.mode is before, f"after {i + 1} ticks: {rig.events}"
    out = rig.tick(**case.bad(rig, case.ticks - 1))
    assert rig.mode is case.after
    event = rig.found(case.reason)[-1]
    assert event.reaction is (Reaction.STAND if case.after is Mode.STAND else Reaction.DAMPING)
    assert event.message
    assert out.stop_reason == event.message
    assert rig.controller.monitor.counters()[case.reason] >= 1
    if case.after is Mode.DAMPING:
        assert not out.command.kp.any()
        assert (out.command.kd > 0).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_does_not_trip_just_below(case):
    rig = rig_for(case)
    before = rig.mode
    for i in range(60):
        rig.tick(**case.good(rig, i))
    assert rig.mode in (before, Mode.READY)  # a stand ramp may have ended
    assert all(event.reaction is Reaction.WARN for event in rig.events)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_warns_only_when_the_file_says_so(case):
    rig = rig_for(case, mode="warn")
    before = rig.mode
    for i in range(case.ticks + 3):
        rig.tick(**case.bad(rig, i))
    assert rig.mode is before
    assert rig.found(case.reason)
    assert all(event.reaction is Reaction.WARN for event in rig.events)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_off_is_silent(case):
    rig = rig_for(case, mode="off")
    before = rig.mode
    for i in range(case.ticks + 3):
        rig.tick(**case.bad(rig, i))
    assert rig.mode is before
    assert rig.events == []


ALWAYS_JUDGED = [case for case in CASES if case.reason not in POLICY_ONLY + DRIVEN_ONLY]


@pytest.mark.parametrize("case", ALWAYS_JUDGED, ids=str)
def test_limp_and_unarmed_it_only_refuses_the_start(case):
    rig = Rig(only(case.reason)).to(Mode.IDLE)
    case.prepare(rig)
    for i in range(case.ticks):
        rig.tick(**case.bad(rig, i))
    assert rig.mode is Mode.IDLE
    assert rig.found(case.reason)
    answer = rig.ask(Request.ARM)
    assert not answer.accepted
    assert case.reason in answer.reason or "not running" in answer.reason


@pytest.mark.parametrize(
    ("reason", "bad"),
    [
        (Reason.TEMPERATURE, state(temperature=at(86.0))),
        (Reason.BATTERY, state(battery=0.05)),
        (Reason.FIRST_ACTION, None),
        (Reason.OBSERVATION_RANGE, always(result=sees(9.0))),
        (Reason.OBSERVATION_Z_SCORE, always(result=sees(9.0))),
    ],
)
@pytest.mark.parametrize("choice", ["stand", "damping"])
def test_the_file_chooses_the_reaction(reason, bad, choice):
    rig = Rig(only(reason, reaction=choice))
    if bad is None:
        rig.to(Mode.READY)
        start_policy(rig)
        rig.tick(result=target(0.9))
    else:
        rig.to(Mode.POLICY)
        for i in range(6):
            rig.tick(**bad(rig, i))
            if rig.mode is not Mode.POLICY:
                break
    assert rig.mode is Mode(choice)


def test_estop_input_latches_and_nothing_switches_it_off():
    rig = Rig(only("estop")).to(Mode.POLICY)
    out = rig.tick(estop=True)
    assert out.mode is Mode.ESTOP
    assert rig.found(Reason.ESTOP)[0].reaction is Reaction.ESTOP
    assert not out.command.kp.any()
    assert rig.run(10).mode is Mode.ESTOP
    assert rig.controller.monitor.counters()["estop"] == 1


def test_process_fault_may_latch():
    rig = Rig(only(Reason.PROCESS_FAULT, reaction="estop")).to(Mode.POLICY)
    assert rig.tick(fault="SIGTERM").mode is Mode.ESTOP
    assert "SIGTERM" in rig.out.stop_reason


def test_lost_command_source_fades_the_command_and_keeps_the_policy():
    rig = Rig().to(Mode.POLICY)
    np.testing.assert_allclose(rig.tick(command_age=0.49).velocity_command, [0.5, 0.1])
    seen = [rig.tick(command_age=0.51 + 0.01 * i).velocity_command.copy() for i in range(40)]
    assert rig.mode is Mode.POLICY
    assert rig.found(Reason.COMMAND_LOST)[0].reaction is Reaction.RAMP_DOWN
    # The largest command, 2, takes 0.5 s to zero: 0.04 a tick. The second, 0.5, takes 0.01 a tick.
    np.testing.assert_allclose(seen[0], [0.46, 0.09])
    np.testing.assert_allclose(seen[4], [0.30, 0.05])
    np.testing.assert_allclose(seen[-1], [0.0, 0.0])
    np.testing.assert_allclose(rig.tick().velocity_command, [0.5, 0.1])  # it is back


def test_commands_are_cut_to_the_trained_range_and_zero_outside_of_the_policy():
    rig = Rig().to(Mode.READY)
    np.testing.assert_array_equal(rig.tick(command=np.array([9.0, -9.0])).velocity_command, [0.0, 0.0])
    rig = Rig().to(Mode.POLICY)
    np.testing.assert_array_equal(rig.tick(command=np.array([9.0, -9.0])).velocity_command, [2.0, -0.5])


def test_one_bad_command_holds_the_one_before():
    rig = Rig().to(Mode.POLICY)
    rig.tick(command=np.array([0.4, 0.2]))
    np.testing.assert_array_equal(rig.tick(command=np.array([NAN, 0.2])).velocity_command, [0.4, 0.2])
    assert rig.mode is Mode.POLICY


def test_one_bad_message_that_stays_in_the_callers_hands_counts_once():
    rig = Rig().to(Mode.POLICY)
    for i in range(5):
        rig.tick(command=np.array([NAN, 0.2]), command_age=0.01 * i)
    assert rig.mode is Mode.POLICY
    assert rig.controller.monitor.counters()["command_invalid"] == 1


@pytest.mark.parametrize("changes", [{"temperature": np.zeros(0)}, {"temperature": at(NAN)}, {"battery": NAN}])
def test_a_silent_sensor_refuses_the_start_but_stops_nothing(changes):
    rig = Rig().to(Mode.READY)
    rig.run(30, state=changes)
    assert rig.mode is Mode.READY
    assert "not reported" in rig.events[0].message
    answer = rig.ask(Request.START_POLICY)
    assert not answer.accepted
    assert "not reported" in answer.reason


def test_a_reading_that_is_passed_on_twice_is_neither_frozen_nor_old():
    """A robot slower than the loop: each packet is stamped by its receiver, so the stamps are not quite equal."""
    rig = Rig().to(Mode.READY)
    for _ in range(20):
        rig.tick()
        state = rig.state()
        for jitter in (-0.001, 0.001):
            rig.tick(state=replace(state, stamp=state.stamp + jitter))
    assert rig.reasons() == []


def test_a_sensor_that_fails_does_not_hide_a_motor_that_is_hot():
    rig = Rig(only(Reason.TEMPERATURE)).to(Mode.READY)
    rig.run(9, state={"temperature": np.array([NAN, 95.0])})
    assert rig.mode is Mode.DAMPING
    assert rig.reasons() == [Reason.TEMPERATURE] * 2  # a warning, and the trip after its debounce
    assert "left" in rig.events[0].message


def test_a_battery_in_per_cent_refuses_the_start():
    """5 % as 5.0 would else pass for full."""
    rig = Rig(only(Reason.BATTERY)).to(Mode.READY)
    rig.run(9, state={"battery": 5.0})
    assert rig.mode is Mode.READY
    assert "no share from 0 to 1" in rig.events[0].message
    assert not rig.ask(Request.START_POLICY).accepted


def test_a_policy_that_gets_up_may_lie_on_its_side():
    rig = Rig(policy=make_policy(may_fall=True)).to(Mode.POLICY)
    rig.run(9, state={"orientation": np.array([0.0, 1.0, 0.0, 0.0]), "angular_velocity": np.full(3, 9.0)})
    assert rig.mode is Mode.DAMPING  # a frozen IMU is judged all the same
    assert set(rig.reasons()) == {Reason.IMU_FROZEN}


def test_a_deadline_missed_too_often_trips_without_a_long_run():
    rig = Rig(only(Reason.POLICY_DEADLINE, consecutive=50)).to(Mode.POLICY)
    for i in range(60):
        rig.tick(result={} if i % 4 == 0 else None)  # every output is one tick late
        if rig.mode is not Mode.POLICY:
            break
    assert rig.mode is Mode.DAMPING


def test_debounce_starts_anew_when_the_condition_ends():
    rig = Rig(only(Reason.TILT)).to(Mode.READY)
    for _ in range(5):
        rig.run(5, state={"orientation": TILTED[1.01]})
        rig.tick()
    assert rig.mode is Mode.READY
    rig.run(6, state={"orientation": TILTED[1.01]})
    assert rig.mode is Mode.DAMPING


def test_the_worst_reaction_of_a_tick_wins():
    rig = Rig().to(Mode.POLICY)
    out = rig.tick(estop=True, monitor_age=9.0, command_age=9.0, state=None)
    assert out.mode is Mode.ESTOP
    assert {Reason.ESTOP, Reason.HEARTBEAT_MONITOR, Reason.COMMAND_LOST} <= set(rig.reasons())


def test_an_older_packet_in_between_does_no_harm():
    rig = Rig().to(Mode.READY)
    for _ in range(20):
        rig.run(3)
        rig.tick(state={"sequence": rig.ticks - 1})
    assert rig.mode is Mode.READY
    assert rig.found(Reason.TIME_BACKWARDS)


def test_a_robot_that_restarted_counts_anew():
    rig = Rig().to(Mode.IDLE)
    rig.ticks = 1000
    rig.tick()
    rig.ticks = 0
    rig.run(5)
    assert rig.controller.monitor.active() == []


def test_clear_message_with_joint_value_and_limit():
    rig = Rig().to(Mode.READY)
    rig.tick(state={"position": np.array([POSE[0], -1.35])})
    assert rig.found(Reason.POSITION)[0].message == "right: joint position beyond the hard range: 0.15 rad (limit 0.1)"


def test_the_same_output_again_is_not_a_new_one():
    rig = Rig().to(Mode.POLICY)
    old = rig.result(action=at(10.0))
    rig.run(20, result=old)
    assert rig.controller.monitor.counters()["action_clip"] == 1
    assert rig.mode is Mode.DAMPING
    assert Reason.POLICY_DEADLINE in rig.reasons()


def test_a_single_limited_command_is_counted_but_no_event():
    rig = Rig(only(Reason.RATE_LIMIT)).to(Mode.POLICY)
    rig.run(60)
    rig.tick(result=target(0.9))
    assert rig.controller.monitor.counters()["rate_limit"] == 1
    assert rig.events == []
    for i in range(20):
        rig.tick(result=target(0.9 * (-1) ** i))
    assert (rig.events[0].value, rig.events[0].limit) == (9.0, 8.0)


def test_sizes_of_the_kit():
    assert make_policy().observation_mean.shape == (D,)
    assert make_policy().kp.shape == (J,)
