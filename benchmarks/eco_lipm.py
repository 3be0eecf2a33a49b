"""The model-based walker on BRUCE (in the place of ECO's MPC): survival, power, cost of transport, speed by speed.

Every start is off from standing still by a little, and turned any way. Figures are means over the starts that survived;
power is the sum of |torque * speed| over ten joints at every physics step, after two seconds of settling. `--variants`
also shows what the power depends on, `--troubles` what the walker stands; `--film` and `--plot` show one walk.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from common import Report, finish, parse, parser

from robolearn.evaluate.rollout import Film
from robolearn.evaluate.statistics import wilson
from robolearn.methods.eco.lipm import GRAVITY, Gait
from robolearn.methods.eco.trial import Disturbance, Start, Walk, place, walk
from robolearn.methods.eco.walker import Walker, WalkerConfig
from sim.ground import Plane
from sim.robots import Robot, load_robot
from sim.scene import PhysicsConfig, Scene, build_scene

PAPER = {"simulated": 9.27, "robot": 9.12}  # W at 0.1 m/s, of ECO's authors' model predictive control
FRICTION = 0.9  # of the floor, as in their model
CONFIG = WalkerConfig()


def _gains(kp: float = 1.0, kd: float = 1.0) -> WalkerConfig:
    return replace(CONFIG, kp=tuple(kp * gain for gain in CONFIG.kp), kd=tuple(kd * gain for gain in CONFIG.kd))


def _gait(**changes: Any) -> WalkerConfig:
    return replace(CONFIG, gait=replace(CONFIG.gait, **changes))


VARIANTS: Mapping[str, WalkerConfig] = {
    "kd x 0.8": _gains(kd=0.8),
    "kd x 1.2": _gains(kd=1.2),
    "kp x 0.75": _gains(kp=0.75),
    "kp x 1.25": _gains(kp=1.25),
    "feet lifted 0.02 m": _gait(clearance=0.02),
    "feet lifted 0.04 m": _gait(clearance=0.04),
    "base 0.42 m high": _gait(height=0.42),
    "base 0.44 m high": _gait(height=0.44),
    "feet 0.12 m apart": _gait(width=0.12),
}


TROUBLES: Mapping[str, Mapping[str, float]] = {
    "kicked by 0.2 m/s every 4 s": {"kick": 0.2},
    "half of ECO's sensor noise": {"noise": 0.5},
    "all of ECO's sensor noise": {"noise": 1.0},
    "friction 0.6": {"friction": 0.6},
    "friction 0.4": {"friction": 0.4},
    "torso 0.5 kg heavier": {"payload": 0.5},
}


def make_scene(robot: Robot, friction: float = FRICTION, payload: float = 0.0) -> Scene:
    """Put the robot on a floor, with so many kg more at the base's centre of mass."""
    scene = build_scene(robot, Plane(), PhysicsConfig(timestep=0.001, decimation=10))
    scene.model.geom_friction[scene.ground_geom, 0] = friction
    scene.model.body_mass[scene.base_body] += payload
    mujoco.mj_setConst(scene.model, mujoco.MjData(scene.model))
    return scene


def row(label: str, speed: float, walks: Sequence[Walk], mass: float) -> dict[str, Any]:
    """One line of the table. Walks that fell count for survival only."""
    stood = [found for found in walks if not found.fallen]
    survival = wilson(len(stood), len(walks))

    def mean(name: str) -> float:
        return float(np.mean([getattr(found, name) for found in stood])) if stood else float("nan")

    forward = [found.velocity[0] for found in stood] or [float("nan")]
    cost = [found.power / (mass * GRAVITY * found.velocity[0]) for found in stood] or [float("nan")]
    spread = np.std([found.power for found in stood], ddof=1) if len(stood) > 1 else float("nan")
    return {
        "walk": label,
        "command m/s": speed,
        "survived": f"{len(stood)} of {len(walks)} ({100 * survival.low:.0f} to {100 * survival.high:.0f} %)",
        "power W": f"{mean('power'):.2f} +- {spread:.2f}",
        "at 100 Hz W": f"{mean('power_control_rate'):.2f}",
        "driving W": f"{mean('positive_power'):.2f}",
        "CoT": f"{np.mean(cost):.2f}",
        "speed m/s": f"{np.mean(forward):.3f}",
        "speed error m/s": f"{mean('speed_error'):.3f}",
        "roll std rad": f"{mean('roll_std'):.3f}",
        "pitch std rad": f"{mean('pitch_std'):.3f}",
        "peak foot force N": f"{max((found.peak_force for found in stood), default=float('nan')):.0f}",
        "torque^2 (N m)^2": f"{mean('torque_square'):.1f}",
        "at a torque limit %": f"{100 * mean('saturated'):.2f}",
        "velocity estimate off m/s": f"{mean('estimate_error'):.3f}",
    }


def trials(
    robot: Robot,
    scene: Scene,
    config: WalkerConfig,
    speed: float,
    options: argparse.Namespace,
    disturbance: Disturbance | None = None,
) -> list[Walk]:
    """Walk from so many starts; the same seed gives the same starts, whatever else differs."""
    walker, found = Walker(robot, config), []
    for index in range(options.starts):
        rng = np.random.default_rng((options.seed, index))
        data = place(robot, scene, Start(), rng)
        found.append(walk(robot, scene, walker, data, speed, options.seconds, disturbance=disturbance, rng=rng))
    return found


def film(path: Path, scene: Scene, found: Walk, speed: float) -> None:
    """Write one walk to a video."""
    from robolearn.evaluate.video import View, frames, write_video

    qpos, dt = np.array(found.qpos), CONFIG.dt
    velocity = np.zeros((len(qpos), 3))
    velocity[:, 0] = np.gradient(np.linalg.norm(qpos[:, :2] - qpos[0, :2], axis=1), dt)
    command = np.tile((speed, 0.0, 0.0), (len(qpos), 1))
    shown = Film(qpos, command, velocity, dt, "BRUCE, model-based walker", int(found.fallen))
    write_video(path, frames(scene.display_model(), shown, View(distance=1.3, azimuth=140.0)), fps=25.0)


def plot(path: Path, scene: Scene, robot: Robot, found: Walk, seconds: float = 5.0) -> None:
    """Draw centre of mass and steps from above, and base angles and power in time, over the last ``seconds``."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = np.array(found.qpos[-round(seconds / CONFIG.dt) :])
    data, com, feet = mujoco.MjData(scene.model), [], []
    for qpos in rows:
        data.qpos[:] = qpos
        mujoco.mj_kinematics(scene.model, data)
        mujoco.mj_comPos(scene.model, data)
        com.append(data.subtree_com[scene.base_body].copy())
        feet.append([data.body(foot.object).xpos.copy() for foot in robot.feet])
    com_, feet_, time = np.array(com), np.array(feet), np.arange(len(rows)) * CONFIG.dt
    figure, axes = plt.subplots(3, 1, figsize=(8, 7.5), constrained_layout=True)
    axes[0].plot(com_[:, 0], com_[:, 1], label="centre of mass")
    for i, foot in enumerate(robot.feet):
        axes[0].plot(feet_[:, i, 0], feet_[:, i, 1], lw=0.8, label=f"{foot.name} ankle")
    axes[0].set(xlabel="x, m", ylabel="y, m", title="from above")
    axes[0].legend(loc="upper right", fontsize=8)
    for i, foot in enumerate(robot.feet):
        axes[1].plot(time, feet_[:, i, 2], label=f"{foot.name} ankle")
    axes[1].set(xlabel="s", ylabel="height, m")
    axes[1].legend(loc="upper right", fontsize=8)
    axes[2].plot(time, np.array(found.powers)[-len(time) :])
    axes[2].set(xlabel="s", ylabel="power in each 10 ms, W", ylim=(0, None))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report."""
    options_ = parser(__doc__)
    options_.add_argument("--speeds", type=float, nargs="+", default=[0.1, 0.15, 0.2], metavar="M/S")
    options_.add_argument("--starts", type=int, default=20, metavar="N")
    options_.add_argument("--seconds", type=float, default=24.0, metavar="S")
    options_.add_argument("--variants", action="store_true", help="other gains and gaits too, at the first speed")
    options_.add_argument("--troubles", action="store_true", help="kicks, noise, slippery floors too")
    options_.add_argument("--film", type=Path, metavar="PATH", help="video of one walk, .mp4 or .gif")
    options_.add_argument("--plot", type=Path, metavar="PATH", help="picture of one walk, .png")
    options = parse(options_, arguments)
    if options.quick:
        options.starts, options.seconds, options.speeds = 1, 3.0, [options.speeds[0]]
    robot = load_robot("bruce")
    scene = make_scene(robot)
    first = options.speeds[0]
    settings = {name: getattr(options, name) for name in ("starts", "seconds", "seed", "threads")}
    report = Report("eco_lipm", settings, "")

    def measure(label: str, config: WalkerConfig, speed: float, **trouble: float) -> None:
        world = make_scene(robot, trouble.pop("friction", FRICTION), trouble.pop("payload", 0.0))
        found = trials(robot, world, config, speed, options, Disturbance(**trouble))
        report.rows.append(row(label, speed, found, float(world.model.body_mass.sum())))
        print(".", end="", flush=True, file=sys.stderr)

    for speed in options.speeds:
        measure("as it is", CONFIG, speed)
    if options.variants:
        for label, config in VARIANTS.items():
            measure(label, config, first)
    if options.troubles:
        for label, trouble in TROUBLES.items():
            measure(label, CONFIG, first, **trouble)
    if options.film or options.plot:
        rng = np.random.default_rng((options.seed, 0))
        data = place(robot, scene, Start(yaw=0.0), rng)
        shown = walk(robot, scene, Walker(robot, CONFIG), data, first, min(options.seconds, 10.0), record=True)
        if options.film:
            film(options.film, scene, shown, first)
        if options.plot:
            plot(options.plot, scene, robot, shown)
    gait: Gait = CONFIG.gait
    report.notes += [
        f"Gains of yaw, pitch, roll, knee, ankle: kp {CONFIG.kp} N m/rad, kd {CONFIG.kd} N m s/rad; {gait}.",
        f"Model predictive control of ECO's authors at 0.1 m/s: {PAPER['simulated']} W simulated, {PAPER['robot']} W "
        "on the robot. Theirs is another controller; power depends on gait and gains.",
    ]
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
