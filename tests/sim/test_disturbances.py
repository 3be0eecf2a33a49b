"""Pushes and forces on the A1, in free fall where momentum is wanted."""

import mujoco
import numpy as np
import pytest
import torch

from robolearn.config import ConfigError, parse
from sim.disturbances import DisturbanceConfig

HIGH = {"initial_base": {"height": [5.0, 5.0]}}  # nothing touches the ground for a second


def momentum(env, i=0):
    """Total linear momentum (3,) in the world, by plain MuJoCo."""
    model = env.scene.model
    data = mujoco.MjData(model)
    data.qpos[:] = env.engine.field("qpos")[i].numpy()
    data.qvel[:] = env.engine.field("qvel")[i].numpy()
    mujoco.mj_forward(model, data)
    mujoco.mj_subtreeVel(model, data)
    return data.subtree_linvel[0] * model.body_subtreemass[0]


def stand(env):
    return env.step(torch.zeros(env.num_envs, 12))


# pushes


def test_pushes_come_at_their_interval_each_environment_with_its_own_phase(make_env):
    env = make_env({"disturbances": {"push": {"interval_s": 0.2, "velocity": 3.0}}, "randomization": HIGH}, num_envs=12)
    hits = torch.zeros(30, 12, dtype=torch.bool)
    update = env.disturbances.update
    for k in range(30):
        before = env.engine.field("qvel").clone()
        env.disturbances.update = lambda: None  # not twice in one step
        update()
        hits[k] = (env.engine.field("qvel") != before).any(1)
        stand(env)
    for i in range(12):
        times = hits[:, i].nonzero().flatten()
        assert times[0] < 10
        assert (times.diff() == 10).all()
    assert len({int(hits[:, i].nonzero()[0]) for i in range(12)}) > 3


def test_a_push_overwrites_the_horizontal_velocity_alone(make_env):
    env = make_env({"disturbances": {"push": {"interval_s": 0.02, "velocity": 0.5}}}, num_envs=400)
    qvel = env.engine.field("qvel")
    qvel[:] = 7.0
    env.disturbances.update()
    assert (qvel[:, 2:] == 7.0).all()
    assert (qvel[:, :2].abs() <= 0.5).all()
    assert torch.allclose(qvel[:, :2].abs().amax(0), torch.tensor([0.5, 0.5], dtype=qvel.dtype), atol=0.01)
    assert qvel[:, :2].mean(0).abs().max() < 0.06


def test_a_push_may_spin_the_base_too(make_env):
    push = {"interval_s": 0.02, "velocity": 0.0, "angular_velocity": 0.4}
    env = make_env({"disturbances": {"push": push}}, num_envs=400)
    qvel = env.engine.field("qvel")
    qvel[:] = 7.0
    env.disturbances.update()
    assert (qvel[:, :2] == 0.0).all()
    assert (qvel[:, [2, *range(6, 18)]] == 7.0).all()
    assert torch.allclose(qvel[:, 3:6].amax(0), torch.full((3,), 0.4, dtype=qvel.dtype), atol=0.01)
    assert torch.allclose(qvel[:, 3:6].amin(0), torch.full((3,), -0.4, dtype=qvel.dtype), atol=0.01)


# forces


def test_the_impulse_is_force_times_duration_in_the_world_frame(make_env):
    yaw = 1.0
    env = make_env(
        {
            "disturbances": {"force": {"interval_s": 10.0, "duration_s": 0.1, "magnitude": 30.0}},
            "randomization": {"initial_base": {"height": [5.0, 5.0], "yaw": [yaw, yaw]}},
        },
        num_envs=2,
    )
    weight = env.scene.model.body_subtreemass[0] * env.scene.model.opt.gravity
    env.disturbances._force_left[:] = 1  # now
    before, force = [momentum(env, i) for i in range(2)], None
    for k in range(8):  # the force lasts 5 steps
        stand(env)
        now = env.state.external_force.clone()
        assert bool((now != 0).all()) == (k < 5)
        if k == 0:
            force = now
        elif k < 5:
            assert torch.equal(now, force)
    assert not torch.equal(force[0], force[1])
    for i in range(2):
        gained = momentum(env, i) - before[i] - weight * 8 * 0.02
        assert np.allclose(gained, force[i].numpy() * 0.1, atol=0.02 * force[i].norm().item() * 0.1)


def test_forces_recur_at_their_interval(make_env):
    config = {"force": {"interval_s": 0.1, "duration_s": 0.04, "magnitude": 1.0}}
    env = make_env({"disturbances": config, "randomization": HIGH}, num_envs=6)
    active = torch.zeros(25, 6, dtype=torch.bool)
    for k in range(25):
        stand(env)
        active[k] = (env.state.external_force != 0).any(1)
    for i in range(6):
        starts = [k for k in range(1, 25) if active[k, i] and not active[k - 1, i]]
        assert np.diff(starts).tolist() == [5] * (len(starts) - 1)
        assert all(active[k + 1, i] and (k + 2 >= 25 or not active[k + 2, i]) for k in starts if k + 1 < 25)


def test_a_force_as_long_as_its_interval_never_pauses(make_env):
    config = {"force": {"interval_s": 0.06, "duration_s": 0.06, "magnitude": 1.0}}
    env = make_env({"disturbances": config, "randomization": HIGH})
    env.disturbances._force_left[:] = 1
    seen = []
    for _ in range(9):
        stand(env)
        seen.append(env.state.external_force[0].clone())
    assert all((value != 0).all() for value in seen)
    groups = [seen[0:3], seen[3:6], seen[6:9]]
    assert all(torch.equal(group[0], value) for group in groups for value in group)
    assert not torch.equal(seen[0], seen[3])


def test_components_are_uniform_and_the_vertical_one_can_be_off(make_env):
    config = {"force": {"interval_s": 1.0, "duration_s": 0.1, "magnitude": 30.0, "vertical": False}}
    env = make_env({"disturbances": config}, num_envs=400)
    env.disturbances._force_left[:] = 1
    env.disturbances.update()
    force = env.state.external_force
    assert (force[:, 2] == 0).all()
    assert 29 < force[:, :2].abs().max() <= 30
    assert force[:, :2].std() == pytest.approx(30 / 3**0.5, rel=0.06)
    wrench = env.engine.field("xfrc_applied")[:, env.scene.base_body]
    assert torch.equal(wrench[:, :3].float(), force)
    assert (wrench[:, 3:] == 0).all()


def test_a_new_episode_begins_without_force(make_env):
    config = {"force": {"interval_s": 1.0, "duration_s": 1.0, "magnitude": 30.0}}
    env = make_env({"disturbances": config, "randomization": HIGH})
    env.disturbances._force_left[:] = 1
    stand(env)
    env.disturbances.external[:] = 5.0
    env.state.episode_step[1] = env.max_episode_length - 1
    assert stand(env).final_ids.tolist() == [1]
    assert (env.state.external_force[0] != 0).all()
    assert (env.state.external_force[1] == 0).all()
    assert env.disturbances.external.tolist() == [[5.0] * 3, [0.0] * 3]
    assert (env.engine.field("xfrc_applied")[1] == 0).all()
    env.disturbances._force_left[1] = 20
    before = momentum(env, 1)
    stand(env)
    weight = env.scene.model.body_subtreemass[0] * env.scene.model.opt.gravity
    assert np.allclose(momentum(env, 1) - before, weight * 0.02, atol=0.01)


def test_an_external_force_adds_to_the_random_one(make_env):
    env = make_env({"randomization": HIGH})
    env.disturbances.external[0] = torch.tensor([20.0, 0.0, 0.0])
    before = [momentum(env, i) for i in range(2)]
    for _ in range(5):
        stand(env)
    gained = [momentum(env, i) - before[i] for i in range(2)]
    assert np.allclose(gained[0] - gained[1], [2.0, 0, 0], atol=0.04)
    assert env.state.external_force[0].tolist() == [20.0, 0.0, 0.0]  # what a critic sees


def test_the_state_holds_both_forces_together(make_env):
    config = {"force": {"interval_s": 1.0, "duration_s": 1.0, "magnitude": 30.0}}
    env = make_env({"disturbances": config})
    env.disturbances._force_left[:] = 1
    env.disturbances.update()
    random = env.state.external_force.clone()
    env.disturbances.external[:] = torch.tensor([1.0, 2.0, 3.0])
    env.disturbances.update()
    assert (random != 0).all()
    assert torch.equal(env.state.external_force, random + torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"push": {"interval_s": 0}}, "interval_s must be > 0"),
        ({"push": {"velocity": -1}}, "velocity >= 0"),
        ({"force": {"duration_s": 3.0, "interval_s": 2.0}}, "duration_s <= interval_s"),
        ({"forces": {}}, "Did you mean 'force'"),
    ],
)
def test_mistakes_are_named(entries, message):
    with pytest.raises(ConfigError, match=message):
        parse(DisturbanceConfig, entries)
