"""The rough-terrain task: spawn, scan, curriculum, the rim."""

import pytest
import torch

from sim.environment import EnvConfig, TaskEnv
from sim.tasks import load_task
from sim.terrain import scan_points


@pytest.fixture
def env(a1, small_terrain):
    env = TaskEnv(load_task("velocity_rough", {"terrain": small_terrain}), a1, EnvConfig(20, threads=1), seed=0)
    env.reset()
    yield env
    env.close()


def test_robots_start_on_their_tiles_above_the_ground(env):
    origins = env.curriculum.origins()
    assert origins[:, 2].unique().numel() > 3
    assert ((env.state.base_position - origins)[:, :2].abs() <= 0.5 + 1e-4).all()
    height = env.state.base_height - env.robot.base_height
    assert (height >= 0.03 - 1e-4).all()
    assert (height <= 0.08 + 1e-4).all()


def test_robots_land_on_the_field(env):
    for _ in range(15):
        result = env.step(torch.zeros(20, 12))
    assert not result.terminated.any()
    assert (env.state.base_height > 0.2).all()
    assert env.state.foot_contact.any(1).all()


def test_the_critic_s_scan_is_the_terrain_s_height(env):
    obs = env.step(torch.zeros(20, 12)).obs["critic"]
    group = env.pipeline.group("critic")
    scan = obs[:, group.slices["height_scan"]]
    assert scan.shape == (20, 187)
    s, grid = env.state, scan_points(1.6, 1.0, 0.1)
    for i in range(20):
        cos, sin = torch.cos(s.heading[i]), torch.sin(s.heading[i])
        points = s.base_position[i, :2] + grid @ torch.stack((torch.stack((cos, sin)), torch.stack((-sin, cos))))
        ground = env.terrain.heights_at(points)
        expected = ((ground - s.base_position[i, 2]) * 5.0).clamp(-5, 5)
        assert torch.allclose(scan[i], expected, atol=2e-3)
    middle = scan[:, 93] / 5.0
    assert torch.allclose(-middle, s.base_height, atol=1e-3)


def finish(env, ids):
    env.state.episode_step[ids] = env.max_episode_length - 1
    return env.step(torch.zeros(env.num_envs, 12))


def test_the_curriculum_moves_those_whose_episode_ended(env):
    env.curriculum.level[:] = 1
    env.reset()
    far, near, running = 0, 1, 2
    env._commanded[:] = 10.0
    env._start_xy[far, 0] -= 5.0  # it came 5 m: more than half a tile
    env._start_xy[running, 0] -= 5.0
    result = finish(env, torch.tensor([far, near]))
    assert result.final_ids.tolist() == [far, near]
    assert env.curriculum.level[[far, near, running]].tolist() == [2, 0, 1]
    assert float(result.log["curriculum/level"]) == pytest.approx(env.curriculum.level.float().mean().item())
    origins = env.curriculum.origins()
    assert ((env.state.base_position - origins)[[far, near], :2].abs() < 0.6).all()


def test_the_commanded_distance_is_that_of_the_episode(env):
    env.commands.fix(torch.tensor([0.6, 0.8, 0.3]))
    for _ in range(5):
        env.step(torch.zeros(20, 12))
    assert torch.allclose(env._commanded, torch.full((20,), 5 * 0.02 * 1.0), atol=1e-6)
    finish(env, torch.tensor([3]))
    assert float(env._commanded[3]) == 0.0


def test_who_leaves_the_terrain_is_stopped_before_falling_off(env):
    x, _ = env.terrain.half_extent
    qpos = env.engine.field("qpos")
    qpos[4, 0] = x - 0.3
    qpos[4, 1] = 0.0
    qpos[4, 2] = 1.0
    qpos[5, 0] = x - 1.0
    qpos[5, 1] = 0.0
    qpos[5, 2] = 1.0
    result = env.step(torch.zeros(20, 12))
    assert result.final_ids.tolist() == [4]
    assert result.truncated[4]
    assert not result.terminated.any()
    assert result.valid.all()
