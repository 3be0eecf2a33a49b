"""The gait clock alone, in a running environment, and in the mirror."""

import dataclasses
from math import asin, pi

import pytest
import torch

from robolearn.config import ConfigError, parse
from sim.gait import GaitConfig, advance, stance

TROT = [0.0, 0.5, 0.5, 0.0]  # FL, FR, RL, RR
EDGE = asin(0.1) / (2 * pi)  # cycles within which the wave is below 0.1


STEP = 1e-3  # cycles; to either side of an edge
MOMENTS = [
    (0.0, "both"), (EDGE - STEP, "both"), (EDGE + STEP, "left"), (0.25, "left"), (0.5 - EDGE - STEP, "left"),
    (0.5 - EDGE + STEP, "both"), (0.5, "both"), (0.5 + EDGE + STEP, "right"), (0.75, "right"),
    (1 - EDGE - STEP, "right"), (1 - EDGE + STEP, "both"),
]  # fmt: skip


@pytest.mark.parametrize(("phase", "who"), MOMENTS)
def test_left_stands_in_the_first_half_right_in_the_second_both_between(phase, who):
    standing = stance(torch.tensor([phase]), torch.tensor([0.0, 0.5]), 0.1)
    assert standing.tolist() == [[who != "right", who != "left"]]


def test_without_double_support_one_foot_stands_at_a_time():
    phase = torch.linspace(0.01, 0.99, 99)[[i for i in range(99) if i != 49]]
    assert (stance(phase, torch.tensor([0.0, 0.5]), 0.0).sum(1) == 1).all()


def test_half_a_cycle_later_the_feet_have_changed_places():
    phase = torch.rand(500, generator=torch.Generator().manual_seed(0))
    offsets = torch.tensor([0.0, 0.5])
    assert torch.equal(stance(advance(phase, 0.5), offsets, 0.1), stance(phase, offsets, 0.1).flip(1))


def test_the_phase_stays_on_time_over_an_episode():
    phase = torch.zeros(1)
    for _ in range(2400):
        phase = advance(phase, 0.01 / 0.55)
    assert 0 <= float(phase) < 1
    assert float(phase) == pytest.approx(2400 * 0.01 / 0.55 % 1, abs=1e-4)  # 24 s


# in the environment


def test_the_clock_runs_with_the_episode_and_starts_anew_with_it(make_env):
    env = make_env({"gait": {"period": 0.5, "offsets": TROT}, "episode_s": 0.9}, num_envs=3)
    assert env.state.gait_step == pytest.approx(0.04)
    for k in range(100):
        phase = k % 45 * 0.02 / 0.5 % 1
        assert torch.allclose(env.state.gait_phase, torch.full((3,), phase), atol=1e-5), k
        if min(abs(phase - edge) for edge in (EDGE, 0.5 - EDGE, 0.5 + EDGE, 1 - EDGE)) > 1e-4:
            expected = stance(torch.tensor([phase]), torch.tensor(TROT), 0.1).expand(3, 4)
            assert torch.equal(env.state.gait_stance, expected)
        env.step(torch.zeros(3, 12))


def test_staggered_episodes_begin_at_the_phase_of_their_age(make_env):
    env = make_env({"gait": {"period": 0.5}, "episode_s": 2.0}, num_envs=20, stagger=True)
    s = env.state
    assert torch.allclose(s.gait_phase, s.episode_step * 0.04 % 1.0, atol=1e-5)
    assert len(s.gait_phase.unique()) > 5


def test_a_task_without_a_gait_asks_every_foot_to_stand(make_env):
    env = make_env()
    env.step(torch.zeros(2, 12))
    assert env.state.gait_step is None
    assert env.state.gait_stance.all()
    assert (env.state.gait_phase == 0).all()


def test_left_and_right_feet_alternate_unless_told_otherwise(a1):
    assert GaitConfig().foot_offsets(a1) == (0.0, 0.5, 0.0, 0.5)
    assert GaitConfig(offsets=tuple(TROT)).foot_offsets(a1) == tuple(TROT)


def test_gaits_that_do_not_fit_the_robot_are_refused(a1):
    with pytest.raises(ConfigError, match=r"gait\.offsets: 2 values for the 4 feet"):
        GaitConfig(offsets=(0.0, 0.5)).foot_offsets(a1)
    with pytest.raises(ConfigError, match="mirror images and must be half a cycle apart"):
        GaitConfig(offsets=(0.0, 0.0, 0.5, 0.5)).foot_offsets(a1)
    lopsided = dataclasses.replace(a1, mirror=None, foot_mirror=None)
    with pytest.raises(ConfigError, match="has no left and right; give one per foot"):
        GaitConfig().foot_offsets(lopsided)
    assert GaitConfig(offsets=(0.0, 0.0, 0.5, 0.5)).foot_offsets(lopsided) == (0.0, 0.0, 0.5, 0.5)


@pytest.mark.parametrize("entries", [{"period": 0.0}, {"double_support": 1.0}, {"double_support": -0.1}])
def test_values_out_of_range_are_refused(entries):
    with pytest.raises(ConfigError):
        parse(GaitConfig, entries)
