"""The walking tasks of BRUCE: what they pay for, and their figures."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch

from sim.gait import stance
from sim.robots import load_robot
from sim.tasks import load_task
from sim.tasks.evaluation import TermEvaluator

TASKS = ("bruce_walk", "bruce_walk_015", "bruce_walk_02", "bruce_walk_lite", "bruce_walk_lite_robust")


@pytest.fixture(scope="module")
def bruce():
    return load_robot("bruce")


def cycle(task, bruce, speed, lift, samples=200):
    """One gait cycle made by hand: an upright base at ``speed`` m/s, the feet in time, swinging ``lift`` m high.

    With ``lift`` 0 the robot stands on both feet and ignores the clock.
    """
    n, robot = samples, bruce
    phase = torch.arange(n) / n
    offsets = torch.tensor(task.gait.foot_offsets(robot))
    asked = stance(phase, offsets, task.gait.double_support)
    contact = asked if lift else torch.ones_like(asked)
    swing = torch.sin(2 * torch.pi * (phase.unsqueeze(1) + offsets)).clamp(max=0).abs() * ~contact
    pose = torch.tensor(robot.default_pose)
    zero, zeros = torch.zeros(n, 10), torch.zeros(n, 3)
    foot = torch.zeros(n, 2, 3)
    foot[:, 0, 1], foot[:, 1, 1] = 0.0759, -0.0759
    foot[..., 2] = 0.0265 + 1.3 * lift * swing
    landed = contact & ~contact.roll(1, 0)
    air = (~contact).float().mean(0) * task.gait.period * landed
    return SimpleNamespace(
        robot=robot,
        terrain=SimpleNamespace(heights_at=lambda xy: torch.zeros(xy.shape[:-1])),
        default_pose=pose,
        joint_position=pose.expand(n, 10),
        joint_velocity=zero,
        joint_acceleration=zero,
        torque=zero,
        power=torch.zeros(n),
        torque_square=torch.zeros(n),
        command=torch.tensor([task.commands.vx[1], 0.0, 0.0]).expand(n, 3),
        base_position=torch.tensor([0.0, 0.0, 0.45]).expand(n, 3),
        base_height=torch.full((n,), 0.45),
        base_quat=torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(n, 4),
        base_linear_velocity=torch.tensor([speed, 0.0, 0.0]).expand(n, 3),
        base_angular_velocity=zeros,
        base_acceleration=torch.zeros(n, 6),
        projected_gravity=torch.tensor([0.0, 0.0, -1.0]).expand(n, 3),
        foot_position=foot,
        knee_position=foot + torch.tensor([0.0, 0.0, 0.2]),
        foot_velocity=torch.zeros(n, 2, 3),
        foot_force=torch.full((n, 2), 23.0) * contact,
        foot_contact=contact,
        gait_stance=asked,
        foot_landed=landed,
        foot_last_air_time=air,
        termination_contact=torch.zeros(n, dtype=torch.bool),
        undesired_contact=torch.zeros(n, 0, dtype=torch.bool),
        action=zero,
        previous_action=zero,
        earlier_action=zero,
    )


@pytest.mark.parametrize("name", TASKS)
def test_standing_still_does_not_pay(name, bruce):
    """At 0.1 m/s the velocity terms alone would hardly notice: the clock, the swing and the speed in steps must."""
    task = load_task(name, {"randomization": None})
    terms, speed = TermEvaluator(task), task.commands.vx[1]

    def per_second(state):
        return float(terms(state)[0].mean()) / task.step_dt

    standing = per_second(cycle(task, bruce, 0.0, 0.0))
    stepping = per_second(cycle(task, bruce, 0.0, 0.03))
    sliding = per_second(cycle(task, bruce, speed, 0.0))
    walking = per_second(cycle(task, bruce, speed, 0.03))
    assert standing < sliding < walking
    assert standing < stepping < walking
    assert walking - standing > 1.5  # of about 7, as much as a whole term of the largest weight
    assert stepping - standing > 1.0
    assert walking - sliding > 1.0


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("term", ["forward_speed", "contact_schedule", "swing_height", "landing_air_time"])
def test_each_term_that_makes_it_walk_does(name, term, bruce):
    """The velocity term alone pays a standing robot 0.90 of what it pays a walking one at 0.1 m/s."""
    task = load_task(name, {"randomization": None})
    speed = task.commands.vx[1]

    def pays(state, *terms):
        alone = dataclasses.replace(task, clip_reward=False, rewards={each: task.rewards[each] for each in terms})
        return float(TermEvaluator(alone)(state)[0].mean()) / task.step_dt

    standing, walking = cycle(task, bruce, 0.0, 0.0), cycle(task, bruce, speed, 0.03)
    velocity = pays(standing, "track_linear_velocity") / pays(walking, "track_linear_velocity")
    assert velocity == pytest.approx(math.exp(-10 * speed**2))
    assert pays(walking, term) > max(pays(standing, term), 0.0)


def test_power_is_told_with_what_it_leaves_out():
    """Impacts between two samples, and heat: a loaded joint that stands has no mechanical power."""
    for name in TASKS:
        assert {"mechanical_power", "mechanical_power_control_rate", "torque_square"} <= set(load_task(name).costs)


SPEEDS = ((0.1, 0.1), (0.15, 0.15), (0.2, 0.2), (0.1, 0.1), (0.0, 0.1))  # the last is for robots that are told to wait


@pytest.mark.parametrize(("name", "speeds"), zip(TASKS, SPEEDS, strict=True))
def test_speeds_and_lengths(name, speeds):
    task = load_task(name)
    assert task.commands.vx == speeds
    assert (task.episode_s, task.gait.period, task.clip_reward) == (24.0, 0.55, True)


def test_the_full_task_runs_at_the_published_rates():
    task = load_task("bruce_walk")
    assert (task.physics.timestep, task.step_dt) == (0.001, pytest.approx(0.01))
    assert task.observations.policy.history == 15


def test_a_frame_of_the_policy_has_the_published_40_values(make_env, bruce):
    env = make_env(load_task("bruce_walk"), robot=bruce, command=None)
    assert env.pipeline.group("policy").frame_width == 40
    assert env.obs_dims["policy"] == 600
    assert [env.scene.model.body(int(body)).name for body in env.scene.knee_bodies] == ["left_shank", "right_shank"]
