"""Recordings as recorder_node makes them, of a made-up A1 under the real controller and policy, written without ROS."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from robolearn.deploy.checks import Reaction
from robolearn.deploy.contract import read_contract
from robolearn.deploy.inputs import Inputs
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.power import PowerMeter
from robolearn.deploy.recording import describe, folder_name, write_about
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.runner import ControlLoop, PolicyRunner
from robolearn.deploy.types import RobotState
from robolearn.deploy.wire import CommandPacket, PolicyPackets, PowerPacket, StatePacket, TickPacket

TYPES = get_typestore(Stores.ROS2_KILTED)
FLOATS, TEXT, TWIST = "std_msgs/msg/Float64MultiArray", "std_msgs/msg/String", "geometry_msgs/msg/Twist"
KINDS = {"safety_monitor/events": TEXT, "safety_monitor/state": TEXT, "cmd_vel": TWIST}
START = 1_700_000_000_000_000_000
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])


class Stage:
    """Robot, controller and policy, turned tick by tick; what they publish is kept, and can be changed, for ``write``.

    The joints are where they were commanded a tick before.

    Attributes:
        messages: (topic, ns, serialized), in order.
        miscompute: changes the reading that the policy gets, but not the one that is recorded.
        unseen: numbers of the requests that the policy never sees: it was paused, or they were lost on the way.
    """

    def __init__(self, policy=None, latched=False, robot="a1"):
        self.robot_name, self.policy_path = robot, policy
        self.robot = load_robot_file(robot)
        self.now = 50.0
        self.messages = []
        self.miscompute = lambda state: state
        self.unseen = set()
        self.position = self.robot.default_pose.copy()
        self.changes = {}
        self.sequence = 0
        self.first = False
        self.used = -1
        self.number = 0
        self.cycle = None
        self.mode = None
        self.packets = None
        self.setup = None
        self.commands = 0
        if policy is not None:
            contract, sha256 = read_contract(policy)
            self.packets = PolicyPackets(self.robot, contract, sha256)
            self.commands = len(contract.command)
            self.runner = PolicyRunner(OnnxPolicy(policy), self.robot, timer=iter(np.arange(1e6) * 1e-4).__next__)
            self.setup = self.runner.setup
        self.states, self.joint = StatePacket(self.robot), CommandPacket(self.robot)
        self.powers, self.meter = PowerPacket(self.robot), PowerMeter()
        self.ticks = TickPacket(self.robot, self.commands)
        self.loop = ControlLoop(self, self.robot, self if policy is not None else None, latched)

    # The driver.

    def read_state(self):
        return self.cycle

    def write_command(self, command):
        self.put("joint_commands", self.joint.packet, self.joint.pack(self.now, command), after=0.001)
        if command.kp.any():
            self.position = command.position.copy()
        return command

    # The policy.

    def reset(self):
        self.first = True

    def evaluate(self, state, command, now):
        self.number += 1
        self.put("policy_input", self.packets.input, self.packets.ask(self.number, self.first, state, command))
        if self.number in self.unseen:
            return None  # and the first request comes again as the first
        if self.first:
            self.runner.reset()
        self.first = False
        result = self.runner.evaluate(self.miscompute(state), command, now)
        data = self.packets.answer(self.number, result)
        self.put("policy_output", self.packets.output, data)
        self.used = self.number
        return self.packets.answered(data, self.packets.output.fingerprint, now)[1]

    def late(self, now):
        return None

    # The rest.

    def put(self, topic, packet, data, after=0.0):
        layout = TYPES.types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=packet.fingerprint)
        message = TYPES.types[FLOATS](layout=layout, data=np.array(data, np.float64))
        self.put_raw(topic, bytes(TYPES.serialize_cdr(message, FLOATS)), after)

    def say(self, topic, text):
        self.put_raw(topic, bytes(TYPES.serialize_cdr(TYPES.types[TEXT](data=text), TEXT)))

    def put_raw(self, topic, data, after=0.0):
        self.messages.append((topic, START + round((self.now + after) * 1e9), data))

    def reading(self):
        wobble = 1e-3 * np.sin(40.0 * self.now)
        state = RobotState(
            position=self.position + wobble,
            velocity=np.full(12, 0.04 * np.cos(40.0 * self.now)),
            torque=np.zeros(12),
            orientation=UPRIGHT,
            angular_velocity=np.full(3, wobble),
            sequence=self.sequence,
            stamp=self.now - 0.0005,
            temperature=np.full(12, 30.0),
            battery=0.9,
        )
        return replace(state, **self.changes)

    def tick(self, command=(0.5, 0.0, 0.1), **inputs):
        self.now += self.robot.control_dt
        self.sequence += 1
        self.used = -1
        data = self.states.pack(self.now, False, self.reading())
        self.put("robot_state", self.states.packet, data)
        self.cycle = self.states.unpack(data, self.states.packet.fingerprint, self.now).state
        calm = {"estop": False, "command_age": 0.0, "policy_age": 0.0, "monitor_age": 0.0, "hardware_age": 0.0}
        given = Inputs(command=np.array(command[: self.commands]), **{**calm, **inputs})
        output = self.loop.tick(given, self.now).output
        self.put("power", self.powers.packet, self.powers.pack(self.now, self.meter.take(self.cycle)))
        self.put("joint_commands_wanted", self.joint.packet, self.joint.pack(self.now, output.wanted))
        tick = self.ticks.pack(self.now, self.now + 1000.0, self.now, self.used, given, output)
        self.put("safety_monitor/tick", self.ticks.packet, tick)
        for event in output.events:
            self.note(
                reason=event.reason, reaction=Reaction(event.reaction).name.lower(), value=event.value,
                limit=event.limit, message=event.message, mode=output.mode, time=event.time,
            )  # fmt: skip
        if output.mode is not self.mode:
            self.say("safety_monitor/state", output.mode)
            stopped = output.mode in (Mode.DAMPING, Mode.ESTOP) or self.mode is Mode.POLICY
            reason = output.stop_reason if stopped else ""
            self.note(**{"mode": output.mode, "from": self.mode, "message": reason, "time": self.now})
            self.mode = output.mode
        return output

    def note(self, **data):
        self.say("safety_monitor/events", json.dumps(data))

    def run(self, seconds, **what):
        for _ in range(round(seconds * self.robot.control_hz)):
            output = self.tick(**what)
        return output

    def ask(self, request):
        """Ask before the next tick, at its time, as the safety monitor does."""
        now = self.now + self.robot.control_dt
        answer = self.loop.controller.request(Request(request), now)
        self.note(request=request, accepted=answer.accepted, message=answer.reason, time=now)
        return answer.accepted

    def steer(self, vx):
        vector = TYPES.types["geometry_msgs/msg/Vector3"]
        twist = TYPES.types[TWIST](linear=vector(x=vx, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=0.1))
        self.put_raw("cmd_vel", bytes(TYPES.serialize_cdr(twist, TWIST)))

    def play(self, seconds=0.5):
        """From power-on to the policy in control, for a while."""
        self.run(0.1)
        assert self.ask("arm")
        assert self.ask("stand")
        self.run(2.5)
        assert self.ask("start_policy")
        self.steer(0.5)
        self.run(seconds)
        return self

    def drop(self, topic, which):
        """Lose the messages of a topic with these numbers (counted from 0; negative from the end)."""
        places = [i for i, message in enumerate(self.messages) if message[0] == topic]
        gone = {places[i] for i in which}
        self.messages = [message for i, message in enumerate(self.messages) if i not in gone]

    def write(self, out, namespace="/", close=True, policy="own"):
        """Write the recording into a new folder in ``out`` and return its path."""
        path = self.policy_path if policy == "own" else policy
        about = describe(self.robot_name, path, namespace, datetime(2026, 11, 20, 16, 0, tzinfo=UTC))
        folder = out / folder_name(about)
        writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.open()
        prefix = about.namespace.rstrip("/") + "/"
        connections = {
            topic: writer.add_connection(prefix + topic, KINDS.get(topic, FLOATS), typestore=TYPES)
            for topic in dict.fromkeys(topic for topic, _, _ in self.messages)
        }
        for i, (topic, stamp, data) in enumerate(self.messages):
            writer.write(connections[topic], stamp, data)
            if i % 50 == 49:
                writer.storage.close_chunk()
        if close:
            writer.set_custom_data("lost", "0")
            writer.close()
        else:
            writer.storage.close_chunk()
            writer.storage.bio.flush()
            writer.abort()
        write_about(folder, about, self.robot_name)
        return folder
