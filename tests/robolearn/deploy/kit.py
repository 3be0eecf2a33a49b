"""A made-up robot of two joints, its policy, and ways to drive a controller through them tick by tick."""

from dataclasses import replace

import numpy as np

from robolearn.deploy.checks import Reason
from robolearn.deploy.controller import Controller
from robolearn.deploy.inputs import Inputs, PolicyResult, PolicySetup
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.robot import robot_from_mapping
from robolearn.deploy.types import RobotState

DT = 0.01
POLICY_DT = 0.02
J = 2
D = 3
C = 2
POSE = np.array([0.2, -0.4])


def robot_data():
    """The entries of the robot's file; change them to make another robot."""
    level = {"mode": "trip", "debounce": 0.0}
    in_a_row = {"mode": "trip", "consecutive": 2}
    share = {"mode": "trip", "count": 8, "window": 10}
    age = {"mode": "trip", "warn": 1.75, "trip": 3.75}  # between ticks, so that rounding decides nothing
    heartbeat = {**level, "limit": 0.15}
    return {
        "name": "twin",
        "joints": ["left", "right"],
        "soft_range": {".*": [-1.0, 1.0]},
        "hard_range": {".*": [-1.2, 1.2]},
        "velocity_limit": 20.0,
        "effort_limit": 30.0,
        "rate_limit": 10.0,
        "default_pose": {"left": 0.2, "right": -0.4},
        "stand_kp": 50.0,
        "stand_kd": 2.0,
        "damping_kd": 3.0,
        "kp_limit": 80.0,
        "kd_limit": 4.0,
        "control_hz": 100.0,
        "policy_dt": 0.02,
        "stand": {"duration": 2.0, "max_velocity": 0.5, "gain_time": 1.0},
        "blend_time": 0.5,
        "command_ramp_time": 0.5,
        "command_timeout": 0.1,
        "reset_velocity": 0.5,
        "safety": {
            "state_invalid": in_a_row,
            "action_invalid": in_a_row,
            "observation_invalid": in_a_row,
            "command_invalid": in_a_row,
            "action_clip": share,
            "soft_range": share,
            "rate_limit": share,
            "predicted_torque": share,
            "first_action": {"mode": "trip", "limit": 0.5, "reaction": "stand"},
            "position": {**level, "limit": 0.1},
            "position_jump": {**level, "limit": 1.2},
            "velocity": {"mode": "trip", "stand": 0.5, "policy": 1.0, "debounce": 0.02},
            "torque": {"mode": "trip", "stand": 0.8, "policy": 1.1, "debounce": 0.02},
            "tracking": {"mode": "trip", "stand": 0.5, "policy": 1.0, "debounce": 0.1},
            "drive_response": {**share, "limit": 0.5},
            "tilt": {**level, "limit": 1.0, "debounce": 0.05},
            "fall": {**level, "limit": 1.4},
            "angular_rate": {**level, "limit": 8.0},
            "state_stale": age,
            "state_frozen": age,
            "time_backwards": age,
            "imu_frozen": age,
            "joint_frozen": age,
            "imu_not_unit": {**age, "limit": 0.01},
            "imu_disagrees": {**share, "limit": 0.5},
            "loop_stalled": {**level, "limit": 0.05},
            "policy_deadline": {"mode": "trip", "limit": 0.6, "consecutive": 3, "count": 5, "window": 20},
            "inference_time": {"mode": "trip", "limit": 0.005, "consecutive": 3, "count": 5, "window": 20},
            "observation_range": {"mode": "trip", "limit": 0.5, "count": 3, "window": 10, "reaction": "stand"},
            "observation_z_score": {"mode": "trip", "limit": 6.0, "count": 3, "window": 10, "reaction": "damping"},
            "command_lost": {**level, "limit": 0.5},
            "heartbeat_policy": heartbeat,
            "heartbeat_monitor": heartbeat,
            "heartbeat_hardware": heartbeat,
            "temperature": {"mode": "trip", "warn": 70.0, "trip": 85.0, "debounce": 0.05, "reaction": "damping"},
            "battery": {"mode": "trip", "warn": 0.2, "trip": 0.1, "debounce": 0.05, "reaction": "damping"},
            "process_fault": {"mode": "trip", "reaction": "damping"},
        },
    }


def make_robot(**safety):
    """The robot; ``tilt={"mode": "off"}`` changes entries of a check."""
    data = robot_data()
    for check, entries in safety.items():
        data["safety"][check] = {**data["safety"][check], **entries}
    return robot_from_mapping(data)


def only(reason, **entries):
    """The robot with one check switched on, which may be changed too."""
    others = {check: {"mode": "off"} for check in robot_data()["safety"] if check != reason}
    return make_robot(**others, **({reason: entries} if reason in robot_data()["safety"] else {}))


def make_policy(**changes):
    policy = PolicySetup(
        robot="twin",
        joints=("left", "right"),
        dt=POLICY_DT,
        kp=np.full(J, 30.0),
        kd=np.full(J, 1.0),
        action_clip=10.0,
        command_range=np.array([[-1.0, 2.0], [-0.5, 0.5]]),
        observation_low=np.full(D, -1.0),
        observation_high=np.full(D, 1.0),
        observation_mean=np.zeros(D),
        observation_std=np.full(D, 0.2),
    )
    return replace(policy, **changes)


class Rig:
    """A controller with all that surrounds it in good order; every tick may be told what goes wrong.

    The robot is ideal: its joints are where they were commanded, or stay where they are when limp.
    """

    def __init__(self, robot=None, policy="default", latched=False):
        self.robot = robot or make_robot()
        self.policy = make_policy() if policy == "default" else policy
        self.controller = Controller(self.robot, self.policy, latched)
        self.now = 100.0
        self.ticks = 0
        self.position = POSE.copy()
        self.events = []
        self.out = None

    @property
    def mode(self):
        return self.controller.mode

    def state(self, **changes):
        wobble = 1e-6 * (self.ticks % 7)
        state = RobotState(
            position=self.position + wobble,
            velocity=np.zeros(J),
            torque=np.zeros(J),
            orientation=np.array([1.0, 0.0, 0.0, 0.0]),
            angular_velocity=np.full(3, wobble),
            sequence=self.ticks,
            stamp=self.now,
            temperature=np.full(J, 30.0),
            battery=0.9,
        )
        return replace(state, **changes)

    def result(self, **changes):
        result = PolicyResult(
            joint_target=POSE + 0.1,
            action=np.full(J, 0.5),
            observation=np.full(D, 0.1),
            inference_time=0.001,
            stamp=self.now,
        )
        return replace(result, **changes)

    def inputs(self, **changes):
        good = Inputs(
            estop=False,
            command=np.array([0.5, 0.1]),
            command_age=0.0,
            policy_age=0.0,
            monitor_age=0.0,
            hardware_age=0.0,
        )
        return replace(good, **changes)

    def tick(self, state="good", result="good", elapsed=DT, **inputs):
        """One control tick. ``state`` and ``result`` are changes of good ones, a whole one, or None."""
        self.now += elapsed
        self.ticks += 1
        if state == "good" or isinstance(state, dict):
            state = self.state(**({} if state == "good" else state))
        if result == "good":
            result = self.result() if self.ticks % 2 == 0 else None
        elif isinstance(result, dict):
            result = self.result(**result)
        self.out = self.controller.step(state, result, self.inputs(**inputs), self.now)
        self.events += self.out.events
        if self.out.command.kp.any():
            self.position = self.out.command.position.copy()
        return self.out

    def run(self, count, **what):
        for _ in range(count):
            self.tick(**what)
        return self.out

    def ask(self, request):
        return self.controller.request(request, self.now)

    def to(self, mode):
        """Bring the controller into a mode by the ordinary way."""
        self.tick()
        if mode is Mode.ESTOP:
            assert self.ask(Request.ESTOP).accepted
        elif mode is Mode.DAMPING:
            assert self.ask(Request.STOP).accepted
        elif mode is not Mode.IDLE:
            assert self.ask(Request.ARM) == (True, "armed")
            assert self.ask(Request.STAND).accepted
            self.tick()
            if mode is not Mode.STAND:
                self.run(int(2.0 / DT) + 1)
                assert self.mode is Mode.READY
            if mode is Mode.POLICY:
                assert self.ask(Request.START_POLICY).accepted
                self.run(4)
        assert self.mode is mode, (self.mode, self.events)
        self.events.clear()
        return self

    def reasons(self):
        return [event.reason for event in self.events]

    def found(self, reason: Reason):
        return [event for event in self.events if event.reason is reason]
