"""Sensors in a running environment: noise, bias, delay, memory."""

import pytest
import torch


def policy_only(**group):
    """Changes that replace the policy's observation, whose terms are joint position and angular velocity."""
    others = dict.fromkeys(("command", "projected_gravity", "joint_velocity", "previous_action"))
    terms = {"joint_position": {"noise": 0.0}, "base_angular_velocity": {"noise": 0.0}} | group.pop("terms", {})
    return {"policy": {"measured": True, "terms": others | terms} | group}


def wiggle(env, seed=1):
    actions = torch.randn(env.num_envs, 12, generator=torch.Generator().manual_seed(seed))
    return env.step(actions)


def true_values(env):
    s = env.state
    return s.joint_position - s.default_pose, s.base_angular_velocity * 0.25


def policy_columns(env, obs):
    slices = env.pipeline.group("policy").slices
    return obs["policy"][:, slices["joint_position"]], obs["policy"][:, slices["base_angular_velocity"]]


def test_noise_disturbs_the_measured_group_within_its_bounds_and_the_critic_not_at_all(make_env):
    noise = {"joint_position": {"noise": 0.01}, "base_angular_velocity": {"noise": 0.2}}
    env = make_env({"observations": policy_only(terms=noise)}, num_envs=64)
    previous = None
    for seed in range(3):
        obs = wiggle(env, seed).obs
        for value, true, half in zip(policy_columns(env, obs), true_values(env), (0.01, 0.2 * 0.25), strict=True):
            error = value - true
            assert 0.9 * half < error.abs().max() <= half * 1.0001
        joints = policy_columns(env, obs)[0] - true_values(env)[0]
        assert previous is None or not torch.allclose(joints, previous)  # drawn anew at every step
        previous = joints
        critic = env.pipeline.group("critic").slices["joint_position"]
        assert torch.equal(obs["critic"][:, critic], true_values(env)[0])


def test_bias_is_drawn_once_per_episode(make_env):
    bias = {"joint_position": {"noise": 0.0, "bias": 0.05}}
    env = make_env({"observations": policy_only(terms=bias), "episode_s": 0.1}, num_envs=4)  # 5 steps
    errors = []
    for seed in range(7):
        obs = wiggle(env, seed).obs
        errors.append(policy_columns(env, obs)[0] - true_values(env)[0])
    for error in errors[1:4]:
        assert torch.allclose(error, errors[0], atol=1e-6)
    assert torch.allclose(errors[5], errors[4], atol=1e-6)  # the fifth step began a new episode
    assert not torch.allclose(errors[4], errors[0], atol=1e-3)
    assert 0.02 < errors[0].abs().max() <= 0.05 + 1e-6


def test_measured_signals_are_the_true_ones_of_some_physics_steps_ago(make_env):
    env = make_env({"observations": policy_only(), "sensors": {"delay": [0, 6]}}, num_envs=32)
    step, s, past = env.engine.step, env.state, []

    def recording_step(**_):
        step()
        qpos, qvel = env.engine.field("qpos"), env.engine.field("qvel")
        past.append((qpos[:, s.joint_q].float(), qvel[:, 3:6].float()))

    env.engine.step = recording_step
    for seed in range(4):
        obs = wiggle(env, seed).obs
    age = env.sensing._age
    assert age.min() == 0  # the draw covers both ends
    assert age.max() == 6
    joints, gyro = policy_columns(env, obs)
    for i in range(env.num_envs):
        true_joints, true_gyro = past[-1 - int(age[i])]
        assert torch.allclose(joints[i], true_joints[i] - s.default_pose, atol=1e-6)
        assert torch.allclose(gyro[i], true_gyro[i] * 0.25, atol=1e-6)
    still_true = env.pipeline.group("critic").slices["joint_position"]
    assert torch.equal(obs["critic"][:, still_true], true_values(env)[0])


def test_right_after_a_reset_old_readings_are_those_of_the_start(make_env):
    env = make_env({"observations": policy_only(), "sensors": {"delay": [3, 3]}})
    wiggle(env)
    env.reset()
    joints, _ = policy_columns(env, env.sensing.observe())
    assert torch.allclose(joints, true_values(env)[0], atol=1e-6)


def test_history_is_forgotten_by_the_environment_that_begins_anew_only(make_env):
    env = make_env({"observations": {"policy": {"history": 3}}})
    for seed in range(3):
        wiggle(env, seed)
    env.state.episode_step[1] = env.max_episode_length - 1
    result = wiggle(env, 5)
    assert result.final_ids.tolist() == [1]
    frames = result.obs["policy"].view(2, 3, -1)
    assert torch.equal(frames[1, 1:], torch.zeros_like(frames[1, 1:]))
    assert (frames[0].abs().sum(1) > 0).all()
    final = result.final_obs["policy"].view(3, -1)
    assert (final.abs().sum(1) > 0).all()  # the last observation still has its past
    again = wiggle(env, 6).obs["policy"].view(2, 3, -1)
    assert torch.equal(again[:, 1], frames[:, 0])
    assert torch.equal(again[1, 2], torch.zeros_like(again[1, 2]))


def test_returned_observations_belong_to_the_caller(make_env):
    env = make_env({"observations": {"policy": {"history": 3}}})
    first = wiggle(env).obs["policy"]
    kept = first.clone()
    second = wiggle(env, 2).obs["policy"].clone()
    assert torch.equal(first, kept)
    first.fill_(99.0)
    third = wiggle(env, 3).obs["policy"].view(2, 3, -1)
    assert torch.equal(third[:, 1], second.view(2, 3, -1)[:, 0])
    kept = third.clone()
    env.reset()
    assert torch.equal(third, kept)
    third.fill_(99.0)
    assert env.sensing._memory["policy"].abs().max() < 50


@pytest.mark.parametrize("yaw", [0.0, 0.5 * torch.pi])
def test_external_force_is_seen_in_the_base_frame(make_env, yaw):
    env = make_env({"randomization": {"initial_base": {"yaw": [yaw, yaw]}}})
    env.state.external_force[:] = torch.tensor([3.0, 4.0, 5.0])
    seen = env.sensing.signals()["external_force"][0]
    expected = [3.0, 4.0, 5.0] if yaw == 0 else [4.0, -3.0, 5.0]  # the world's y is the robot's x
    assert torch.allclose(seen, torch.tensor(expected), atol=1e-5)


def test_signals_of_some_rows_are_rows_of_all(make_env, small_terrain):
    env = make_env(
        {
            "terrain": small_terrain,
            "sensors": {"scan_size": [0.4, 0.2]},
            "observations": {"critic": {"terms": {"height_scan": {}}}},
        },
        num_envs=3,
    )
    wiggle(env)
    rows = torch.tensor([2, 0])
    everything, some = env.sensing.signals(), env.sensing.signals(rows)
    assert everything["height_scan"].shape == (3, 15)
    for name, value in everything.items():
        assert torch.equal(value[rows], some[name]), name
