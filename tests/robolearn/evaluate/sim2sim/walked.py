"""Recordings as the nodes make them, of a deployed robot in this process, held in memory."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from robolearn.deploy.contract import read_contract
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.policy import OnnxPolicy
from robolearn.evaluate.deployed import DeployedRobot, calm
from robolearn.replay.packets import Series
from robolearn.replay.recording import Note, Recording

POLICY = Path(__file__).parents[4] / "policies" / "a1_velocity_flat" / "policy.onnx"
READING = ("position", "velocity", "torque", "orientation", "angular_velocity", "acceleration", "sequence")
COMMAND = ("position", "velocity", "kp", "kd", "torque")
NOTHING = Series()


def make_robot():
    return DeployedRobot(OnnxPolicy(POLICY), timestep=0.005)


class Walked:
    """A robot that stands up and follows a script (T, 3); ``forces`` are what its sensors felt at its feet."""

    def __init__(self, script, robot=None, at=None, do=None):
        """Call ``do(robot)`` at the beginning of step ``at``."""
        self.robot = robot or make_robot()
        self.rows = defaultdict(lambda: defaultdict(list))
        self.notes, self.qpos, self.sensors = [], [], []
        self.number, self.mode, self.followed, self.cycle = 0, Mode.IDLE, np.zeros(3), 0
        self.run(20)
        self.ask(Request.ARM)
        self.ask(Request.STAND)
        while self.mode is not Mode.READY:
            self.run(1)
        self.ask(Request.START_POLICY)
        for step in range(len(script)):
            if step == at:
                do(self.robot)
            self.run(4, script[min(step + 1, len(script) - 1)])  # heard in time for the next step
        self.run(3)

    def ask(self, request):
        self.robot.ask(request)

    def run(self, cycles, command=(0.0, 0.0, 0.0)):
        for _ in range(cycles):
            tick = self.robot.tick(calm(command))
            now, self.cycle = self.robot.now, self.cycle + 1
            self.put("states", cycle=now, **{name: getattr(tick.state, name) for name in READING})
            self.put("commands", cycle=now, **{name: getattr(tick.output.command, name) for name in COMMAND})
            answer = -1
            if tick.result is not None:
                self.number += 1
                answer = self.number
                self.put("asked", number=answer, command=self.followed)
                result = tick.result
                self.put("answered", number=answer, action=result.action, joint_target=result.joint_target)
            self.put("ticks", cycle=now, answer=answer)
            if tick.output.mode is not self.mode:
                said = tick.output.stop_reason
                data = {"mode": tick.output.mode, "from": self.mode, "message": said, "time": now}
                self.notes.append(Note(now, data))
                self.mode = tick.output.mode
            self.followed = tick.output.velocity_command
            self.qpos.append(self.robot.link.data.qpos.copy())
            self.sensors.append(self.robot.link.data.sensordata.copy())

    def put(self, topic, **values):
        for name, value in values.items():
            self.rows[topic][name].append(np.atleast_1d(np.asarray(value, float)).copy())

    def recording(self, lost=None):
        """What was recorded, without the messages (by topic) at places in ``lost``."""
        series = {}
        for topic, fields in self.rows.items():
            fields = {name: np.delete(values, (lost or {}).get(topic, []), 0) for name, values in fields.items()}
            length = len(next(iter(fields.values())))
            series[topic] = Series(np.arange(length) * 0.005, np.arange(length) * 0.005, fields)
        return Recording(
            path=Path("recording"),
            about=None,
            robot=self.robot.robot,
            contract=read_contract(POLICY)[0],
            policy=POLICY,
            wanted=NOTHING,
            power=NOTHING,
            velocity=NOTHING,
            notes=tuple(self.notes),
            modes=(),
            silent=np.zeros(0),
            start=0.0,
            counts={},
            unreadable={},
            complete=True,
            lost=0,
            **series,
        )


def weaken(robot, share):
    """Let the drives of a robot have other gains than they are told."""
    send = robot.link.send
    robot.link.send = lambda command: send(replace(command, kp=share * command.kp))
