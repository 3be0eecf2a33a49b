"""A robot in MuJoCo as a node: the same driver and topics as real hardware, and the world's clock."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter as RosParameter
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger

from hardware.base import RobotDriver
from hardware.faults import FaultInjector, parse_fault
from hardware.hoist import Hoist
from hardware.mujoco_robot import MujocoRobot
from robolearn.config import ConfigError
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.types import RobotState
from robolearn_ros import messages, qos
from robolearn_ros.drive import ROLE, Drive, Order
from robolearn_ros.node import OK, WARN, Parameter, RobotNode
from robolearn_ros.node import main as run
from sim.ground import Plane
from sim.robots import Robot, list_robots, load_robot
from sim.scene import PhysicsConfig, build_scene

PARAMETERS = (
    Parameter("description", "", "robot description, a name or a YAML file; empty: that with the robot file's name"),
    Parameter("lock_step", True, "wait for the command that answers a cycle before time goes on"),
    Parameter("real_time_factor", 1.0, "largest speed of simulated time; 0: as fast as it goes", 0.0, 100.0),
    Parameter("hoisted", False, "hold the robot by a soft rope, feet off the ground; false lowers it", live=True),
    Parameter("patience", 2.0, "s of wall time that lock step waits for a command; then time runs on", 0.1, 600.0),
    Parameter("timestep", 0.002, "physics step, s", 0.0005, 0.005),
    Parameter("seed", 0, "of random faults", 0, 2**31 - 1),
    Parameter("fault", "", "JSON object: kind, and its parameters, is injected at once; empty: ends all", live=True),
    Parameter("push", "", "JSON array [x, y, z]: pushes the base, N s, world frame, within 50 ms", live=True),
)
AGAIN = 0.05
"""s of wall time after which an unanswered cycle is published again: readings are sent without assurance."""
WISH_LIMIT = 1.0
"""s of wall time to wait until the world's thread has done what was asked."""
PUSH_TIME = 0.05


class SimNode(RobotNode):
    """Turns the world in a thread of its own; ROS messages come and go in the executor's."""

    role = ROLE

    def __init__(self, **options: Any) -> None:
        super().__init__("sim_node", PARAMETERS, **options)
        if self.value("use_sim_time"):
            raise ConfigError("parameter 'use_sim_time': sim_node makes the simulated time and cannot follow it")
        self._thread: threading.Thread | None = None
        self._injector: FaultInjector | None = None
        self.add_on_set_parameters_callback(self._on_parameters)

    def setup(self) -> None:
        """Build the world and put the robot on its feet."""
        self._robot = load_robot_file(self.value("robot"))
        description = self._description()
        physics = PhysicsConfig(timestep=self.value("timestep"))
        scene = build_scene(description, Plane(), physics)
        self._world = MujocoRobot(scene.model, self._robot.joints, description.base, self._robot.effort_limit)
        self._height = description.base_height
        self._rope = Hoist.lifting(self._height, float(scene.model.body_subtreemass[0]) * 9.81, len(description.feet))
        self._world.place(self._robot.default_pose, self._height)
        self._injector = FaultInjector(self._world, self._world, self.value("seed"))
        self._driver = RobotDriver(self._injector, self._robot, self._world)
        self._wishes: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        for name in ("hoisted", "fault", "push"):
            if self.value(name):
                try:
                    self._wish(name, self.value(name))()
                except (ValueError, TypeError) as error:
                    raise ConfigError(f"parameter {name!r}: {error}") from error

    def _description(self) -> Robot:
        """Return the robot that the world is made of.

        Raises:
            ConfigError: there is none of this name, or it has other joints than the robot file.
        """
        name = self.value("description") or self._robot.name
        if not self.value("description") and name not in list_robots():
            raise ConfigError(
                f"no robot description has the name of the robot file, {name!r}; those with this package: "
                f"{', '.join(list_robots())}. Give yours: sim_node.description=FILE.yaml (docs/bring_your_own_robot.md)"
            )
        return load_robot(name)

    def start(self) -> None:
        """Let time run; it begins with the first command where lock step is on."""
        self._driver.connect()
        self._driver.configure()
        self._driver.activate()
        self._drive = Drive(self, self._robot, self._driver)
        self._time = self.create_publisher(Clock, "/clock", qos.CLOCK)
        self.own(lambda: self.destroy_publisher(self._time))
        place = self.create_service(Trigger, "~/place", self._place)
        self.own(lambda: self.destroy_service(place))
        self._again = 0
        self._answering = self._heard = False  # whether the last cycle was answered, and any one
        timer = self.create_timer(1.0, self._report, clock=self.steady_clock)
        self.own(lambda: self.destroy_timer(timer))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="world", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the world's time, damped."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None
        self._driver.disconnect()

    def _run(self) -> None:
        factor, self._patience = self.value("real_time_factor"), self.value("patience")
        due = time.monotonic()
        while not self._ended.is_set():
            while not self._wishes.empty():
                self._wishes.get()()
            self._world.advance(self._robot.control_dt)
            order = self._exchange(self._world.now(), self._driver.read_state())
            self._answering = order is not None
            self._heard = self._heard or self._answering
            if order is None:
                self._driver.cycle()
            else:
                self._drive.apply(order, self._world.now())
            # Without an answer there is nothing to hurry for, however fast the world may run.
            pace = factor if self._answering else min(factor or 1.0, 1.0)
            due = self._rest(due, self._robot.control_dt / pace) if pace else time.monotonic()

    def _exchange(self, now: float, state: RobotState | None) -> Order | None:
        """Publish a cycle and return the command that answers it; in lock step, wait for it.

        Without an answer within ``patience`` the controller counts as gone, and time runs on. For the first one it
        waits for ever: the world begins with its controller.
        """
        waits = self.value("lock_step") and (self._answering or not self._heard)
        begin = time.monotonic()
        while True:
            self._time.publish(Clock(clock=messages.to_time(now)))
            self._drive.publish(now, state)
            if not waits:
                return self._drive.take(0.0)
            order = self._await(now)
            if order is not None or self._ended.is_set():
                return order
            if self._heard and time.monotonic() - begin >= self._patience:
                self._lose_step(now)
                return None
            self._again += 1

    def _lose_step(self, cycle: float) -> None:
        """Say that time runs on without the controller: it is not in lock step until it answers again."""
        message = f"no command answered the cycle of {cycle:.3f} s within {self._patience:g} s: time runs on without it"
        self.get_logger().warning(message)
        self.report("lock step", WARN, message)

    def _report(self) -> None:
        if self.value("lock_step"):
            self.report("lock step", OK if self._answering else WARN, "answered" if self._answering else "not answered")
        facts = {
            "time, s": f"{self._world.now():.3f}",
            "cycles published again": self._again,
            "hoisted": self._world.hoist is not None,
        }
        self.report("world", OK, "running", facts)

    def _await(self, cycle: float) -> Order | None:
        """Return the command that answers ``cycle``, if it comes before the cycle should be published again."""
        end = time.monotonic() + AGAIN
        while (left := end - time.monotonic()) > 0.0 and not self._ended.is_set():
            order = self._drive.take(left)
            if order is not None and order.cycle >= cycle - 1e-9:  # older ones are passed over
                return order
        return None

    def _rest(self, due: float, period: float) -> float:
        """Sleep until a period after ``due``; time that was lost is not made up for."""
        due = max(due + period, time.monotonic() - period)
        left = due - time.monotonic()
        if left > 0.0:
            self._ended.wait(left)
        return due

    def _hoist(self, up: bool) -> None:
        if up:
            self._world.hoist = self._rope
        else:
            self._world.lower()

    def _on_parameters(self, parameters: list[RosParameter]) -> SetParametersResult:
        """Check wishes here, fulfil them in the world's thread; before there is a world, ``setup`` will."""
        if self._injector is None:
            return SetParametersResult(successful=True)
        try:
            wishes = [self._wish(each.name, each.value) for each in parameters]
        except (ValueError, TypeError, ConfigError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        for wish in wishes:
            self._wishes.put(wish)
        return SetParametersResult(successful=True)

    def _wish(self, name: str, value: Any) -> Callable[[], object]:
        """Return what a parameter asks of the world.

        Raises:
            ValueError, TypeError, ConfigError: it asks for nothing that can be done.
        """
        if name == "hoisted":
            return partial(self._hoist, value)
        if name == "fault":
            return self._fault(value)
        if name == "push" and value:
            impulse = np.array(json.loads(value), np.float64)
            if impulse.shape != (3,) or not np.isfinite(impulse).all():
                raise ValueError("needs three finite numbers")
            return partial(self._world.push, impulse, PUSH_TIME)
        return lambda: None

    def _place(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Put the robot back on its feet, where it began; time goes on."""
        done = threading.Event()

        def place() -> None:
            self._world.place(self._robot.default_pose, self._height)
            done.set()

        self._wishes.put(place)
        response.success = done.wait(WISH_LIMIT)
        response.message = "placed" if response.success else "it will be placed when time goes on: nobody commands it"
        return response

    def _fault(self, text: str) -> Callable[[], object]:
        injector = self._injector
        assert injector is not None  # ``setup`` made it
        if not text:
            return injector.clear
        data = parse_fault(text, [motor.joint for motor in self._world.motors])

        def inject() -> None:
            fault = injector.inject(**data)
            self.report("fault injection", WARN, f"{fault.kind.name} since {fault.start:.3f} s", fault.parameters)

        return inject


def main() -> int:
    """Run the node."""
    return run(SimNode)


if __name__ == "__main__":
    sys.exit(main())
