"""Whatever comes in, in whatever order: the command is finite, inside the limits, and a stop stays a stop."""

import copy
import functools
import math
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.deploy.modes import DRIVEN, Mode, Request
from robolearn.deploy.types import RobotState

from .kit import DT, J, Rig, make_robot, robot_data

ROBOT = make_robot()
UNMONITORED = make_robot(**{check: {"mode": "off"} for check in robot_data()["safety"]})
ODD = [math.nan, math.inf, -math.inf, 1e308, -1e308, 1e-308, 0.0, -0.9, 0.9, 3.0, -30.0]
number = st.sampled_from(ODD) | st.floats(-2.0, 2.0)


def arrays(*sizes):
    of_size = [st.lists(number, min_size=size, max_size=size).map(np.array) for size in sizes]
    return st.one_of(*of_size, st.sampled_from([None, [0.0, 0.0], np.zeros((J, J)), np.array(["a", "b"]), "x"]))


STATE_CHANGES = {
    "position": arrays(J, J, 3),
    "velocity": arrays(J, J, 0),
    "torque": arrays(J, J, 1),
    "orientation": arrays(4, 4, 3),
    "angular_velocity": arrays(3, 3, 4),
    "sequence": st.sampled_from([0, -1, 10**30, math.nan, None, "7"]),
    "stamp": number | st.just(None),
    "temperature": arrays(J, 0, 5),
    "battery": number,
}
RESULT_CHANGES = {
    "joint_target": arrays(J, J, 3),
    "action": arrays(J, J, 0),
    "observation": arrays(3, 3, 2),
    "inference_time": number,
    "stamp": number,
}
INPUT_CHANGES = {
    "estop": st.sampled_from([True, False, False]),
    "command": arrays(2, 2, 3),
    "command_age": number,
    "policy_age": number,
    "monitor_age": number,
    "hardware_age": number,
    "fault": st.sampled_from(["", "", "SIGINT"]),
}


def some(changes, most):
    """Up to ``most`` of the changes at once; nothing wrong is the likeliest."""
    return st.lists(st.sampled_from(sorted(changes)), max_size=most, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: changes[name] for name in names})
    )


tick = st.fixed_dictionaries(
    {
        "state": st.none() | some(STATE_CHANGES, 2) | st.just({}),
        "result": st.none() | some(RESULT_CHANGES, 2),
        "inputs": some(INPUT_CHANGES, 1),
        "elapsed": st.sampled_from([DT] * 8 + [0.0, -1.0, 0.04, 0.06, 5.0, 1e300, math.nan, math.inf]),
        "repeat": st.sampled_from([1, 1, 1, 2, 5, 12, 40]),
        "request": st.none() | st.sampled_from([*Request, *Request, "nonsense", "ramp_done"]),
    }
)
mild = st.fixed_dictionaries(
    {
        "state": st.just({}) | some({name: arrays(J) for name in ("position", "velocity")}, 1),
        "result": some({"joint_target": arrays(J)}, 1),
        "inputs": st.just({}),
        "elapsed": st.sampled_from([DT, DT, 0.02]),
        "repeat": st.sampled_from([1, 2, 5]),
        "request": st.none() | st.sampled_from([Request.STAND, Request.START_POLICY, Request.ARM]),
    }
)


class Watch:
    """Follows a rig and checks every command that leaves."""

    def __init__(self, rig):
        self.rig = rig
        self.before = rig.out
        self.reading = None
        self.latched = rig.mode is Mode.ESTOP
        self.asked_to_stand = rig.mode in DRIVEN

    def ask(self, request):
        mode = self.rig.mode
        answer = self.rig.ask(request)
        assert answer.reason
        if answer.accepted and request in (Request.STOP, Request.ESTOP):
            self.asked_to_stand = False
        if answer.accepted and request is Request.RESET:
            assert mode in (Mode.DAMPING, Mode.ESTOP)
            self.latched = self.asked_to_stand = False
        if answer.accepted and request is Request.STAND:
            assert mode is Mode.POLICY or not self.latched
            self.asked_to_stand = True

    def check(self):
        rig, robot, out = self.rig, self.rig.robot, self.rig.out
        command = out.command
        for value in (command.position, command.velocity, command.kp, command.kd, command.torque):
            assert value.shape == (J,)
            assert np.isfinite(value).all()
        assert (robot.soft_low <= command.position).all()
        assert (command.position <= robot.soft_high).all()
        assert (command.kp >= 0).all()
        assert (command.kp <= robot.kp_limit).all()
        assert (command.kd >= 0).all()
        assert (command.kd <= robot.kd_limit).all()
        assert not command.velocity.any()
        assert not command.torque.any()
        assert np.isfinite(out.velocity_command).all()
        stiff = bool(command.kp.any())
        if stiff:
            assert out.mode in DRIVEN
            assert self.asked_to_stand
            assert not self.latched
            state = rig.controller.monitor.readings.state
            with np.errstate(all="ignore"):
                torque = np.abs(command.kp * (command.position - state.position) - command.kd * state.velocity)
            assert (torque <= robot.effort_limit * (1 + 1e-9)).all()
        if stiff and self.before.command.kp.any():
            step = np.abs(command.position - self.before.command.position)
            assert (step <= robot.rate_limit * DT + 1e-12).all()
        if out.mode is Mode.ESTOP:
            self.latched = True
        if out.mode in (Mode.IDLE, Mode.DAMPING, Mode.ESTOP):
            self.asked_to_stand = False
        if self.latched:
            assert out.mode is Mode.ESTOP
        self.before = out


def assert_safe_throughout(rig, ticks):
    watch = Watch(rig)
    watch.check()
    for what in ticks:
        if what["request"] is not None:
            watch.ask(what["request"])
        for _ in range(what["repeat"]):
            rig.tick(what["state"], what["result"], what["elapsed"], **what["inputs"])
            watch.check()


@functools.cache
def prepared(mode, robot):
    rig = Rig(robot).to(mode)
    rig.run(1 if mode is Mode.STAND else 40)
    return rig


def start(mode, robot=ROBOT):
    """A rig in a mode; the way there is gone once and copied."""
    return copy.deepcopy(prepared(mode, robot))


@settings(max_examples=30)
@given(st.sampled_from(list(Mode)), st.lists(tick, max_size=20))
def test_no_input_leads_to_a_bad_command(mode, ticks):
    assert_safe_throughout(start(mode), ticks)


@settings(max_examples=30)
@given(st.lists(mild, max_size=20))
def test_mild_faults_in_motion_stay_inside_too(ticks):
    assert_safe_throughout(start(Mode.POLICY), ticks)


@settings(max_examples=30)
@given(st.sampled_from([Mode.READY, Mode.POLICY]), st.lists(tick, max_size=20))
def test_the_limits_hold_with_every_check_switched_off(mode, ticks):
    assert_safe_throughout(start(mode, UNMONITORED), ticks)


@settings(max_examples=20)
@given(st.lists(tick, min_size=1, max_size=20), st.sampled_from(list(Mode)))
def test_after_a_latched_stop_nothing_moves_without_reset(ticks, mode):
    rig = start(mode)
    assert rig.ask(Request.ESTOP).accepted
    rig.tick()
    for what in ticks:
        if what["request"] is not None and what["request"] != Request.RESET:
            rig.ask(what["request"])
        for _ in range(what["repeat"]):
            out = rig.tick(what["state"], what["result"], what["elapsed"], **what["inputs"])
            assert out.mode is Mode.ESTOP
            assert not out.command.kp.any()
            assert (out.command.kd > 0).all()


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from([{}, {"monitor_age": 1.0}, {"estop": True}, {"fault": "x"}]), max_size=40),
    st.lists(st.sampled_from(list(Request)), min_size=40, max_size=40),
)
def test_the_same_inputs_give_the_same_commands(faults, requests):
    """Nothing hides in the controller but what was fed in: a recorded run can be decided again."""
    runs = []
    for _ in range(2):
        rig, seen = Rig(), []
        for what, request in zip(faults, requests, strict=False):
            rig.ask(request)
            out = rig.tick(**what)
            seen.append((out.mode, out.command.position.tolist(), out.command.kp.tolist(), repr(out.events)))
        runs.append(seen)
    assert runs[0] == runs[1]


class Broken(RobotState):
    """A reading that cannot be read."""

    __slots__ = ()

    def __getattribute__(self, name):
        raise RuntimeError(f"no {name}")


def test_a_reading_that_raises_brakes():
    for mode in Mode:
        rig = start(mode)
        rig.now += DT
        out = rig.controller.step(Broken.__new__(Broken), None, rig.inputs(), rig.now)
        assert out.mode is (Mode.ESTOP if mode is Mode.ESTOP else Mode.DAMPING)
        assert not out.command.kp.any()


def test_the_watch_sees_what_it_must():
    """The properties can fail: each broken command is noticed."""
    for field, value in (
        ("position", np.full(J, 1.1)),
        ("position", np.full(J, math.nan)),
        ("kp", np.full(J, 81.0)),
        ("kp", np.full(J, -1.0)),
        ("kd", np.full(J, 5.0)),
        ("velocity", np.full(J, 0.1)),
        ("torque", np.full(3, 0.0)),
    ):
        rig = start(Mode.POLICY)
        watch = Watch(rig)
        rig.out = replace(rig.out, command=replace(rig.out.command, **{field: value}))
        try:
            watch.check()
        except AssertionError:
            continue
        raise AssertionError(f"{field} {value} was not noticed")
