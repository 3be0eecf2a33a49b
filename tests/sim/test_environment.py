"""One control step: physics, actions and their delay, power, episodes and their ends."""

import dataclasses

import mujoco
import numpy as np
import pytest
import torch

from robolearn.config import ConfigError, parse
from sim.environment import EnvConfig
from sim.interface import VecEnv


def actions_of(env, seed, scale=1.0):
    return torch.randn(env.num_envs, 12, generator=torch.Generator().manual_seed(seed)) * scale


def recorded_physics(env):
    """Record (target-independent) what each physics step starts with: control, joint position and velocity."""
    step, s, rows = env.engine.step, env.state, []
    fields = [env.engine.field(name) for name in ("ctrl", "qpos", "qvel")]

    def recording_step(**_):
        ctrl, qpos, qvel = (field.clone() for field in fields)
        rows.append((ctrl, qpos[:, s.joint_q], qvel[:, s.joint_v]))
        step()

    env.engine.step = recording_step
    return rows


def targets(env, rows):
    """Joint targets behind recorded torques: tau = kp (target - q) - kd dq, solved for the target."""
    return [(ctrl + env.actuators.kd * dq) / env.actuators.kp + q for ctrl, q, dq in rows]


# standing


def test_with_zero_actions_the_robot_stands(make_env, a1):
    """Gains of 20 and 0.5, as in legged_gym, let the A1 sink to about 0.256 m."""
    soft = dataclasses.replace(a1, kp=(20.0,) * 12, kd=(0.5,) * 12)
    env = make_env(robot=soft)
    force, count = torch.zeros(2), 0
    for k in range(100):
        result = env.step(torch.zeros(2, 12))
        assert not result.terminated.any()
        assert not result.truncated.any()
        if k >= 50:
            force, count = force + env.state.foot_force.sum(1), count + 1
    s = env.state
    assert s.base_height.tolist() == pytest.approx([0.256] * 2, abs=0.006)
    assert s.foot_contact.all()
    weight = float(env.scene.model.body_mass.sum()) * 9.81
    # the sensor gives the length of each foot's force; standing feet also push a little sideways
    assert (force / count).tolist() == pytest.approx([weight] * 2, rel=0.02)
    assert not s.undesired_contact.any()


def test_the_environment_keeps_the_learner_s_contract(make_env):
    env = make_env(num_envs=3)
    assert isinstance(env, VecEnv)
    assert (env.num_envs, env.num_actions, env.max_episode_length, env.step_dt) == (3, 12, 1000, 0.02)
    assert env.cost_names == ("mechanical_power", "velocity_error")
    result = env.step(torch.zeros(3, 12))
    assert {name: tuple(value.shape) for name, value in result.obs.items()} == {
        name: (3, width) for name, width in env.obs_dims.items()
    }
    for value, shape, dtype in (
        (result.reward, (3,), torch.float32),
        (result.costs, (3, 2), torch.float32),
        (result.terminated, (3,), torch.bool),
        (result.truncated, (3,), torch.bool),
        (result.valid, (3,), torch.bool),
        (result.final_ids, (0,), torch.int64),
    ):
        assert (tuple(value.shape), value.dtype) == (shape, dtype)
    assert {name: tuple(value.shape) for name, value in result.final_obs.items()} == {
        name: (0, width) for name, width in env.obs_dims.items()
    }
    assert all(value.dtype == torch.float32 for value in result.obs.values())
    assert all(torch.as_tensor(value).ndim == 0 for value in result.log.values())


def test_actions_of_another_shape_are_refused(make_env):
    with pytest.raises(ValueError, match=r"actions must be \(2, 12\), got \(2, 11\)"):
        make_env().step(torch.zeros(2, 11))


@pytest.mark.parametrize("entries", [{"num_envs": 0}, {"threads": -1}, {"engine": "isaac"}])
def test_bad_sizes_are_refused(entries):
    with pytest.raises(ConfigError):
        parse(EnvConfig, entries)


# actions


def test_targets_are_the_default_pose_plus_the_scaled_action(make_env):
    env = make_env({"actions": {"scale": 0.5, "clip": 2.0}})
    rows = recorded_physics(env)
    action = actions_of(env, 0)
    action[0, 0] = 50.0
    env.step(action)
    expected = env._default_pose + 0.5 * torch.tensor(env.robot.action_scale) * action.clamp(-2, 2)
    assert len(rows) == 4
    for target in targets(env, rows):
        assert torch.allclose(target, expected.double(), atol=1e-6)


def test_targets_are_held_inside_the_range_of_their_joints(make_env):
    env = make_env({"actions": {"margin": 0.1, "scale": 4.0}})
    low, high = torch.tensor(env.robot.position_limit, dtype=torch.float64).unbind(1)
    for sign, bound in ((1.0, high - 0.1), (-1.0, low + 0.1)):
        env.step(torch.full((env.num_envs, env.num_actions), 9.0 * sign))
        assert torch.allclose(env._target, bound.expand_as(env._target), atol=1e-6)
    env.reset()
    rows, action = recorded_physics(env), 0.02 * actions_of(env, 0)
    env.step(action)
    expected = env._default_pose + 4.0 * torch.tensor(env.robot.action_scale) * action
    assert torch.allclose(targets(env, rows)[0], expected.double(), atol=1e-6), "within the range nothing changes"


def test_a_margin_that_leaves_no_room_for_the_default_pose_is_refused(make_env):
    with pytest.raises(ValueError, match=r"actions.margin: 2 rad inside its range .* joint .FL_hip_joint. cannot"):
        make_env({"actions": {"margin": 2.0}})


@pytest.mark.parametrize("delay", [2, 4])
def test_the_old_target_holds_for_the_delay(make_env, delay):
    env = make_env({"actions": {"delay": [delay, delay], "scale": 0.2}})
    rows = recorded_physics(env)
    goals = [env._default_pose.expand(2, -1)]
    for seed in range(3):
        action = actions_of(env, seed)
        rows.clear()
        env.step(action)
        goals.append(env._default_pose + action.double() * env._action_scale)
        for k, target in enumerate(targets(env, rows)):
            assert torch.allclose(target, goals[-2] if k < delay else goals[-1], atol=1e-6)


def test_delays_differ_between_environments_and_steps(make_env):
    env = make_env({"actions": {"delay": [1, 3], "scale": 0.2}}, num_envs=16)
    rows = recorded_physics(env)
    old, seen = env._default_pose.expand(16, -1), []
    for seed in range(4):
        action = actions_of(env, seed)
        rows.clear()
        env.step(action)
        new = env._default_pose + action.double() * env._action_scale
        at_new = torch.stack([(target - new).abs().amax(1) < 1e-6 for target in targets(env, rows)])
        at_old = torch.stack([(target - old).abs().amax(1) < 1e-6 for target in targets(env, rows)])
        assert torch.equal(at_old, ~at_new)
        delay = at_old.sum(0)
        assert torch.equal(at_old, torch.arange(4)[:, None] < delay)  # first the old one, then the new one
        seen.append(delay)
        old = new
    seen = torch.stack(seen)
    assert set(seen.flatten().tolist()) == {1, 2, 3}
    assert (seen.amax(1) > seen.amin(1)).all()
    assert (seen.amax(0) > seen.amin(0)).any()


def test_after_a_reset_the_old_target_is_the_start_pose(make_env):
    start = {"initial_joints": {"scale": [1.1, 1.1]}}
    env = make_env({"actions": {"delay": [4, 4]}, "randomization": start})
    env.step(actions_of(env, 0))
    env.reset()
    rows = recorded_physics(env)
    env.step(actions_of(env, 1))
    assert torch.allclose(targets(env, rows)[0], env._default_pose * 1.1, atol=1e-9)


# physics


def test_motion_and_power_equal_plain_mujoco_s(make_env):
    """A replica by hand: PD torques at every physics step, and the integral of |tau dq|."""
    env = make_env(num_envs=1)
    model, robot = env.scene.model, env.robot
    kp, kd, limit = np.array(robot.kp), np.array(robot.kd), np.array(robot.effort_limit)
    pose, scale = np.array(robot.default_pose), np.array(robot.action_scale)
    data = mujoco.MjData(model)
    data.qpos[:] = env.engine.field("qpos")[0].numpy()
    mujoco.mj_forward(model, data)
    costs = []
    for seed in range(10):
        action = actions_of(env, seed)
        power = heat = 0.0
        for _ in range(4):
            q, dq = data.qpos[env.scene.joint_qpos], data.qvel[env.scene.joint_qvel]
            torque = np.clip(kp * (pose + scale * action[0].double().numpy() - q) - kd * dq, -limit, limit)
            power += np.abs(torque * dq).sum() * 0.005 / 0.02
            heat += np.square(torque).sum() / 4
            data.ctrl[:] = torque
            mujoco.mj_step(model, data)
        result = env.step(action)
        assert np.allclose(env.engine.field("qpos")[0], data.qpos, atol=1e-9)
        assert np.allclose(env.engine.field("qvel")[0], data.qvel, atol=1e-7)
        assert float(env.state.power[0]) == pytest.approx(power, rel=1e-5)
        assert float(env.state.torque_square[0]) == pytest.approx(heat, rel=1e-5)
        assert np.allclose(env.state.torque[0], torque, atol=1e-4)
        costs.append(float(result.costs[0, 0]))
        assert costs[-1] == pytest.approx(power, rel=1e-5)
    assert max(costs) > 10.0


def test_costs_are_those_of_the_state_before_an_episode_ends(make_env):
    """The last step of an episode costs what it cost: the reset that follows sets velocities and torques to 0."""
    costs = {"mechanical_power": {}, "mechanical_power_control_rate": {}}
    env, ending = make_env({"costs": costs}), make_env({"costs": costs, "terminations": {"too_low": {"height": 9.0}}})
    result, last = env.step(actions_of(env, 3)), ending.step(actions_of(env, 3))
    assert last.terminated.all()
    assert (ending.state.joint_velocity == 0).all()
    assert torch.allclose(last.costs, result.costs)
    s, sampled = env.state, result.costs[:, env.cost_names.index("mechanical_power_control_rate")]
    assert torch.allclose(sampled, (s.torque * s.joint_velocity).abs().sum(1))
    assert (sampled > 1.0).all()


def test_rewards_use_the_state_reached_and_the_command_that_held(make_env):
    env = make_env(
        {
            "rewards": dict.fromkeys(("placeholder",)) | {"track_linear_velocity": {"weight": 1.0, "sigma": 0.25}},
            "commands": {"resample_s": [0.02, 0.02], "standing": 0.0},
        },
        command=None,
    )
    for seed in range(4):
        asked = env.state.command.clone()
        result = env.step(actions_of(env, seed))
        assert not torch.equal(asked, env.state.command)
        # the observation already holds the next command
        policy = result.obs["policy"][:, env.pipeline.group("policy").slices["command"]]
        assert torch.allclose(policy, env.state.command * torch.tensor([2.0, 2.0, 0.25]))
        error = (asked[:, :2] - env.state.base_linear_velocity[:, :2]).square().sum(1)
        assert float(result.log["term/track_linear_velocity"]) == pytest.approx(float(torch.exp(-error / 0.25).mean()))
        assert torch.allclose(result.costs[:, 1], error.sqrt(), atol=1e-6)


def test_joint_friction_takes_torque_away_but_no_power(make_env):
    """The joint feels the motor's torque less the friction; the motor's power is that of its own torque."""
    env = make_env({"randomization": {"joint_friction": {"range": [0.3, 0.3]}}}, num_envs=1)
    rows = recorded_physics(env)
    env.step(actions_of(env, 0))
    goal = env._default_pose + actions_of(env, 0).double() * env._action_scale
    power = 0.0
    for ctrl, q, dq in rows:
        motor = env.actuators.kp * (goal - q) - env.actuators.kd * dq
        assert torch.allclose(ctrl, motor - 0.3 * (dq / 0.2).clamp(-1, 1), atol=1e-6)
        power += float((motor * dq).abs().sum()) / 4
    assert float(env.state.power[0]) == pytest.approx(power, rel=1e-5)


# ends of episodes


def test_the_time_limit_truncates_and_gives_the_true_last_observation(make_env):
    short, long = make_env({"episode_s": 0.2}), make_env({"episode_s": 10.0})
    for k in range(10):
        action = actions_of(short, k)
        a, b = short.step(action), long.step(action)
        assert a.truncated.tolist() == [k == 9] * 2
    assert not a.terminated.any()
    assert a.final_ids.tolist() == [0, 1]
    for name in a.obs:
        assert torch.equal(a.final_obs[name], b.obs[name])
        assert not torch.equal(a.obs[name], b.obs[name])
    assert torch.equal(a.reward, b.reward)
    fresh = make_env({"episode_s": 0.2})
    assert torch.equal(a.obs["critic"], fresh.sensing.observe()["critic"])  # nothing is random here: all starts are one
    assert short.state.episode_step.tolist() == [0, 0]
    assert short.step(actions_of(short, 20)).truncated.tolist() == [False, False]


def test_the_history_of_the_last_observation_is_that_of_the_old_episode(make_env):
    changes = {"observations": {"policy": {"history": 3}}}
    short, long = make_env(changes | {"episode_s": 0.1}), make_env(changes)
    for k in range(5):
        action = actions_of(short, k)
        a, b = short.step(action), long.step(action)
    assert torch.equal(a.final_obs["policy"], b.obs["policy"])


def test_a_fall_terminates_the_one_that_fell(make_env):
    env, untouched = make_env(num_envs=3), make_env(num_envs=3)
    qpos = env.engine.field("qpos")
    qpos[1, 2:7] = torch.tensor([0.05, 0.0, 1.0, 0.0, 0.0], dtype=qpos.dtype)  # on its back
    env.engine.forward()
    action = actions_of(env, 0)
    a, b = env.step(action), untouched.step(action)
    assert a.terminated.tolist() == [False, True, False]
    assert not a.truncated.any()
    assert a.final_ids.tolist() == [1]
    gravity = env.pipeline.group("critic").slices["projected_gravity"]
    assert a.final_obs["critic"][0, gravity][2] > 0.9  # still upside down
    assert a.obs["critic"][1, gravity][2] < -0.9  # a new episode
    for i in (0, 2):
        assert torch.equal(a.obs["critic"][i], b.obs["critic"][i])


def test_a_fall_at_the_time_limit_is_a_fall(make_env):
    env = make_env({"episode_s": 0.02})
    env.engine.field("qpos")[1, 2:7] = torch.tensor([0.05, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    env.engine.forward()
    result = env.step(torch.zeros(2, 12))
    assert result.terminated.tolist() == [False, True]
    assert result.truncated.tolist() == [True, False]
    assert result.final_ids.tolist() == [0, 1]


def test_staggered_episodes_end_at_different_times(make_env):
    env = make_env({"episode_s": 1.0}, num_envs=40, stagger=True)
    ends = [len(env.step(torch.zeros(40, 12)).final_ids) for _ in range(50)]
    assert sum(ends) == 40
    assert max(ends) <= 6
    env.reset()
    assert env.state.episode_step.unique().numel() > 15
    together = make_env({"episode_s": 1.0}, num_envs=4)
    assert together.state.episode_step.tolist() == [0] * 4


def test_no_episode_begins_with_a_foot_in_the_ground(make_env, quiet):
    """Legs drawn longer than the default pose's raise the robot; shorter ones leave it where it is."""
    task = quiet({"randomization": {"initial_joints": {"scale": [0.5, 1.5]}}})
    env = make_env(task, num_envs=200)
    lowest = env.state.foot_position[..., 2].amin(1)
    radius = 0.02
    assert lowest.min() > radius - 1e-5
    lifted = env.state.base_height > env.robot.base_height + 1e-5
    assert 20 < lifted.sum() < 180
    assert torch.allclose(lowest[lifted], torch.tensor(radius), atol=1e-5)
    assert torch.allclose(env.state.base_position[:, 2], env.engine.field("qpos")[:, 2].float(), atol=1e-6)
    before = env.state.state_dict()["foot_force"].clone()
    assert (before[lifted] == 0).all()
    i = int(lifted.nonzero()[0])
    data = mujoco.MjData(env.scene.model)
    data.qpos[:] = env.engine.field("qpos")[i].numpy()
    env.engine.step()
    mujoco.mj_step(env.scene.model, data)
    assert np.allclose(env.engine.field("qpos")[i], data.qpos, atol=1e-6)  # the physics starts from the raised robot
    env.reset()
    env.step(torch.zeros(200, 12))
    assert env.state.base_linear_velocity[:, 2].max() < 0.3
