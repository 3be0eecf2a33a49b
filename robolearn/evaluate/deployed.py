"""A simulated robot under its deployed policy, in one process: policy, controller, monitor, driver, faults, physics.

What runs here is what runs on a robot; only the drives are simulated. Time is simulated and nothing waits for a clock,
so the same calls give the same run. A world can be copied: one walk serves as the start of many experiments.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hardware.base import RobotDriver
from hardware.faults import FaultInjector
from hardware.hoist import Hoist, needs_hoist
from hardware.mujoco_robot import MujocoRobot
from robolearn.deploy.inputs import AnyFloat, Inputs, PolicyResult
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.robot import RobotFile, load_robot_file
from robolearn.deploy.runner import ControlLoop, PolicyRunner, Tick
from robolearn.deploy.types import RobotState
from sim.ground import Plane
from sim.robots import load_robot
from sim.scene import PhysicsConfig, build_scene

TIMESTEP = 0.002
"""s of physics; the drives' law needs 1 to 2 ms."""
SETTLE_S = 0.2
HANG_S = 1.0
"""s in which a limp robot is lifted, and hangs still."""
STAND_S = 3.0
"""s after which a robot that was asked to stand does."""
LOWER_S = 5.0
"""s in which a hoisted robot must be down."""

Spoil = Callable[[PolicyResult], PolicyResult | None]


def calm(command: AnyFloat | Sequence[float] = (0.0, 0.0, 0.0)) -> Inputs:
    """Return the inputs of a tick in which all is well, with a velocity command (C,)."""
    return Inputs(
        estop=False,
        command=np.array(command, np.float64),
        command_age=0.0,
        policy_age=0.0,
        monitor_age=0.0,
        hardware_age=0.0,
    )


class LocalPolicy:
    """The policy in the loop's own process, which can be spoiled as another process could be.

    Attributes:
        setup: what the controller must know of it.
        spoil: from an output to what arrives instead; None is no answer at all.
    """

    def __init__(self, policy: OnnxPolicy, robot: RobotFile) -> None:
        # The time that this computer takes is not what is examined: a busy one must not make the policy late.
        self._runner = PolicyRunner(policy, robot, timer=_no_time)
        self.setup = self._runner.setup
        self.spoil: Spoil | None = None

    def reset(self) -> None:
        """Forget the past."""
        self._runner.reset()

    def evaluate(self, state: RobotState, command: AnyFloat, now: float) -> PolicyResult | None:
        """Return the output for a reading and a velocity command (C,), as far as it arrives."""
        result = self._runner.evaluate(state, command, now)
        return result if self.spoil is None else self.spoil(result)

    def late(self, now: float) -> None:
        """Return nothing: an output arrives at once or never."""
        return


def _no_time() -> float:
    return 0.0


class DeployedRobot:
    """A robot on flat ground, switched on and unarmed. Time passes in ``tick`` only.

    Two legs do not get up by themselves: such a robot hangs from a hoist, and ``stand`` puts it down once it is stiff.

    Attributes:
        robot: the robot file.
        link: the simulated robot, with the ground truth, ``push`` and the clock.
        injector: the place for faults, below the driver.
        driver: what guards the drives.
        policy: what walks.
        loop: reads, decides and writes.
    """

    def __init__(
        self,
        policy: OnnxPolicy,
        robot: RobotFile | str | Path = "a1",
        seed: int = 0,
        timestep: float = TIMESTEP,
    ) -> None:
        """Put the robot on its feet, one with two feet on a hoist.

        Args:
            policy: what walks; its state belongs to this world from now on.
            robot: a robot file, or its name; the description in ``sim.robots`` is that of the same name.
            seed: of random faults.
            timestep: s of physics.

        Raises:
            ConfigError: there is no such robot, or the policy was not made for it.
        """
        self.robot = robot if isinstance(robot, RobotFile) else load_robot_file(robot)
        description = load_robot(self.robot.name)
        model = build_scene(description, Plane(), PhysicsConfig(timestep=timestep)).model
        self.link = MujocoRobot(model, self.robot.joints, description.base, self.robot.effort_limit)
        self.link.place(self.robot.default_pose, description.base_height)
        self._base_name, self._start_height = description.base, description.base_height
        if needs_hoist(len(description.feet)):
            weight = float(model.body_subtreemass[0]) * 9.81
            self.link.hoist = Hoist.lifting(description.base_height, weight, len(description.feet))
        self.injector = FaultInjector(self.link, self.link, seed)
        self.driver = RobotDriver(self.injector, self.robot, self.link)
        self.driver.connect()
        self.driver.configure()
        self.driver.activate()
        self.policy = LocalPolicy(policy, self.robot)
        self.loop = ControlLoop(self.driver, self.robot, self.policy)
        # What never changes, or cannot be copied and is safe to share in one thread.
        self._shared = (model, self.robot, policy.contract, policy._session, self.driver._lock)

    @property
    def now(self) -> float:
        """s of simulated time."""
        return self.link.now()

    @property
    def tilt(self) -> float:
        """Angle of the base from upright, rad: the truth, not a reading."""
        return float(np.arccos(np.clip(self.link.data.body(self._base_name).xmat[8], -1.0, 1.0)))

    @property
    def height(self) -> float:
        """Height of the base over its height at the start: the truth, not a reading."""
        return float(self.link.data.body(self._base_name).xpos[2]) / self._start_height

    @property
    def mode(self) -> Mode:
        """What the controller is doing."""
        return self.loop.controller.mode

    def copy(self) -> DeployedRobot:
        """Return an independent world in the same state, with the same future. Call it before faults are injected."""
        return copy.deepcopy(self, {id(part): part for part in self._shared})

    def tick(self, inputs: Inputs) -> Tick:
        """Let one control period pass, then run the control loop once."""
        self.link.advance(self.robot.control_dt)
        return self.loop.tick(inputs, self.now)

    def run(self, seconds: float, inputs: Inputs | None = None) -> list[Tick]:
        """Tick for so long with the same inputs; all is calm where none are given."""
        given = calm() if inputs is None else inputs
        return [self.tick(given) for _ in range(round(seconds * self.robot.control_hz))]

    def ask(self, request: Request) -> None:
        """Ask the controller as the operator would.

        Raises:
            RuntimeError: it was refused; says why.
        """
        answer = self.loop.controller.request(request, self.now)
        if not answer.accepted:
            raise RuntimeError(answer.reason)

    def stand(self) -> list[Tick]:
        """From switched on to READY, on the ground."""
        ticks = self.run(SETTLE_S if self.link.hoist is None else HANG_S)
        self.ask(Request.ARM)
        self.ask(Request.STAND)
        return ticks + self.run(STAND_S) + self.lower()

    def lower(self) -> list[Tick]:
        """Put a hoisted robot down and let go of it; nothing happens where there is no hoist.

        Raises:
            RuntimeError: the rope is not slack after ``LOWER_S``.
        """
        ticks: list[Tick] = []
        self.link.lower()
        while self.link.hoist is not None:
            if len(ticks) >= LOWER_S * self.robot.control_hz:
                raise RuntimeError(f"the hoisted robot was not down {LOWER_S:g} s after it was lowered")
            ticks.append(self.tick(calm()))
        return ticks

    def walk(self, seconds: float = 1.0) -> list[Tick]:
        """From switched on to the policy in control, with no velocity for the first ``seconds``."""
        ticks = self.stand()
        self.ask(Request.START_POLICY)
        return ticks + self.run(seconds)
