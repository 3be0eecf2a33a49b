"""What rough ground costs: physics of standing robots on the plane and on height fields, and the height scan.

``python benchmarks/terrain_speed.py`` prints a Markdown table. The grounds take turns, and every figure is the best of
its runs, so that other load on the machine hits all alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import mujoco
import torch
from mujoco.batch import Batch

from sim.robots import load_robot
from sim.terrain import Terrain, TerrainConfig, TerrainCurriculum, scan_points


def seconds(run: Callable[[], object]) -> float:
    """Return the wall time of one call, s."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def standing_robots(
    terrain: Terrain, robot_name: str, num_envs: int, threads: int
) -> tuple[Callable[[int], None], Batch]:
    """Return a function that drops the robots somewhere on their tiles and steps them, and their batch.

    A spring at each joint holds the default pose, so that they stand on their feet.
    """
    robot = load_robot(robot_name)
    spec = robot.spec()
    spec.option.timestep = 0.005
    spec.option.iterations, spec.option.ls_iterations = 10, 20
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    terrain.add_to(spec)
    for name, kp, kd in zip(robot.joints, robot.kp, robot.kd, strict=True):
        motor = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.set_to_position(kp=kp, kv=kd)
    model = spec.compile()
    batch = Batch(model, num_envs, threads)
    qpos, qvel, ctrl = batch.bind("qpos"), batch.bind("qvel"), batch.bind("ctrl")
    curriculum = TerrainCurriculum(terrain, num_envs, torch.Generator().manual_seed(0))
    start = curriculum.origins().double().numpy()
    start[:, :2] += torch.rand(num_envs, 2, generator=torch.Generator().manual_seed(1)).double().numpy() * 6 - 3
    joints = [model.joint(name).qposadr[0] for name in robot.joints]

    def run(steps: int) -> None:
        qpos[:], qvel[:], ctrl[:] = model.qpos0, 0.0, robot.default_pose
        qpos[:, :2] = start[:, :2]
        qpos[:, 2] = terrain.heights_at(torch.from_numpy(start[:, :2])).numpy() + robot.base_height + 0.05
        qpos[:, joints] = robot.default_pose
        for _ in range(steps):
            batch.step()

    return run, batch


def mean_contacts(batch: Batch) -> float:
    """Return the mean number of contacts of a robot in its present state."""
    total = 0
    for sim in range(batch.nsim):
        data = batch.get_data(sim)
        mujoco.mj_forward(batch.get_model(sim), data)
        total += data.ncon
    return total / batch.nsim


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robot", default="a1")
    parser.add_argument("--num-envs", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    grounds = {
        "plane": TerrainConfig(),
        "height field, 0.1 m": TerrainConfig(kind="rough"),
        "height field, 0.05 m": TerrainConfig(kind="rough", resolution=0.05),
    }
    terrains = {name: Terrain(config) for name, config in grounds.items()}
    robots = {
        name: standing_robots(terrain, options.robot, options.num_envs, options.threads)
        for name, terrain in terrains.items()
    }
    points = {
        name: TerrainCurriculum(terrain, options.num_envs, torch.Generator().manual_seed(0)).origins()[:, None, :2]
        + scan_points()
        for name, terrain in terrains.items()
    }
    physics = dict.fromkeys(grounds, float("inf"))
    scan = dict.fromkeys(grounds, float("inf"))
    for _ in range(options.rounds):
        for name, terrain in terrains.items():
            physics[name] = min(physics[name], seconds(partial(robots[name][0], options.steps)))
            for _ in range(20):
                scan[name] = min(scan[name], seconds(partial(terrain.heights_at, points[name])))
    print("| ground | samples | physics steps/s | relative | contacts per robot | scan of all robots, ms |")
    print("|---|---|---|---|---|---|")
    for name, terrain in terrains.items():
        samples = "" if terrain.is_flat else f"{terrain.heights.size / 1e6:.1f} M"
        print(
            f"| {name} | {samples} | {options.num_envs * options.steps / physics[name]:,.0f} "
            f"| {physics['plane'] / physics[name]:.2f} | {mean_contacts(robots[name][1]):.1f} "
            f"| {scan[name] * 1e3:.2f} |"
        )


if __name__ == "__main__":
    main()
