"""Hopper and Walker2d: the same as Gymnasium's, with costs, true final observations and exact resumption."""

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from robolearn.config import ConfigError
from sim.interface import VecEnv
from sim.planar import COSTS, FRAME_SKIP, PlanarConfig, PlanarEnv, load_model

N = 3
IDS = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5"}


@pytest.fixture(params=IDS)
def name(request):
    return request.param


def make(name, seed=0, stagger=False, **changes):
    return PlanarEnv(PlanarConfig(name, **{"num_envs": N, "threads": 1} | changes), seed, stagger)


def drawn_actions(env, steps, scale, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(steps, env.num_envs, env.num_actions, generator=generator)


def roll(env, steps, seed=0):
    return [env.step(action) for action in drawn_actions(env, steps, 0.5, seed)]


def same(one, two):
    for a, b in zip(one, two, strict=True):
        pairs = [(a.obs[name], b.obs[name]) for name in a.obs] + [(a.final_obs[n], b.final_obs[n]) for n in a.final_obs]
        names = ("reward", "costs", "terminated", "truncated", "final_ids", "valid")
        pairs += [(getattr(a, name), getattr(b, name)) for name in names]
        if not all(torch.equal(x, y) for x, y in pairs):
            return False
    return True


# the same as Gymnasium's


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_states_rewards_and_ends_are_those_of_gymnasium(name, scale):
    """Small actions give long episodes, large ones meet the joint limits; both end episodes on the way."""
    env = make(name, num_envs=2)
    theirs = [gymnasium.make(IDS[name]).unwrapped for _ in range(2)]
    obs = env.reset()["policy"]
    qpos, qvel = env.engine.field("qpos"), env.engine.field("qvel")

    def take_over(k):
        theirs[k].reset()
        theirs[k].set_state(qpos[k].numpy().copy(), qvel[k].numpy().copy())

    for k in range(2):
        take_over(k)
        assert env.engine.timestep * FRAME_SKIP == theirs[k].dt == env.step_dt
        assert torch.equal(obs[k], torch.from_numpy(theirs[k]._get_obs()).float())
    ends = 0
    for actions in drawn_actions(env, 250, scale).clamp(-1, 1):
        result = env.step(actions)
        final = dict(zip(result.final_ids.tolist(), result.final_obs["policy"], strict=True))
        for k in range(2):
            their_obs, reward, terminated, _, info = theirs[k].step(actions[k].double().numpy())
            assert bool(result.terminated[k]) == terminated
            assert float(result.reward[k]) == pytest.approx(reward, rel=1e-6, abs=1e-6)  # float32
            assert float(env.speed[k]) == pytest.approx(info["x_velocity"], abs=1e-9)
            ours = final.get(k, result.obs["policy"][k])
            assert ours.numpy() == pytest.approx(their_obs, rel=1e-6, abs=1e-6)
            if terminated:
                ends += 1
                take_over(k)
            else:
                assert qpos[k].numpy() == pytest.approx(theirs[k].data.qpos, abs=1e-9)
                assert qvel[k].numpy() == pytest.approx(theirs[k].data.qvel, abs=1e-9)
    assert ends > 0


def test_actions_beyond_the_control_range_count_as_its_limit(name):
    one, two = make(name), make(name)
    one.reset(), two.reset()
    for actions in drawn_actions(one, 10, 3.0):
        assert same([one.step(actions)], [two.step(actions.clamp(-1, 1))])


def test_the_reward_scale_is_a_factor_of_the_reward_alone(name):
    plain, scaled = make(name), make(name, reward_scale=0.25)
    plain.reset(), scaled.reset()
    for a, b in zip(roll(plain, 30), roll(scaled, 30), strict=True):
        assert b.reward.numpy() == pytest.approx(0.25 * a.reward.numpy(), rel=1e-6)
        assert torch.equal(a.costs, b.costs)
        assert torch.equal(a.obs["policy"], b.obs["policy"])


def test_starts_are_spread_evenly_within_the_noise(name):
    env = make(name, num_envs=2000)
    start = torch.from_numpy(np.concatenate((load_model(name).qpos0[1:], np.zeros(env.engine.model.nv))))
    noise = env.reset()["policy"].double() - start
    assert noise.abs().max() <= 5e-3 + 1e-6
    assert noise.std(0).numpy() == pytest.approx(np.full(len(start), 5e-3 / 3**0.5), rel=0.05)
    assert noise.mean(0).abs().max() < 4 * 5e-3 / 3**0.5 / 2000**0.5


def test_observed_velocities_are_limited(name):
    env = make(name)
    env.reset()
    env.engine.field("qvel")[0, -1] = 80.0
    result = env.step(torch.zeros(N, env.num_actions))
    assert not result.terminated[0]
    assert env.engine.field("qvel")[0, -1] > 10
    assert result.obs["policy"][0, -1] == 10.0


# costs


def test_power_is_that_of_every_physics_step(name):
    """One control step, repeated with MuJoCo alone, which gives the joints' torques itself."""
    env = make(name)
    env.reset()
    env.engine.field("qvel")[:] = torch.linspace(-2, 2, env.engine.model.nv).double()
    model, expected = load_model(name), []
    actions = drawn_actions(env, 1, 0.5)[0]
    for k in range(N):
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = env.engine.field("qpos")[k], env.engine.field("qvel")[k]
        data.ctrl[:] = actions[k].clamp(-1, 1)
        steps = []
        for _ in range(FRAME_SKIP):
            velocity = data.qvel.copy()
            mujoco.mj_step(model, data)
            steps.append(np.abs(data.qfrc_actuator * velocity).sum())
        expected.append(np.mean(steps))
    result = env.step(actions)
    power = result.costs[:, env.cost_names.index("mechanical_power")]
    assert power.numpy() == pytest.approx(expected, rel=1e-6)
    assert power.min() > 1.0


def test_torque_square_is_gear_times_action_squared(name):
    env = make(name, costs=("torque_square",))
    env.reset()
    gear = {"hopper": 200.0, "walker2d": 100.0}[name]
    actions = torch.zeros(N, env.num_actions)
    actions[0, 0], actions[1, :2], actions[2, 1] = 0.5, 0.1, -7.0
    costs = env.step(actions).costs
    expected = [(0.5 * gear) ** 2, 2 * (0.1 * gear) ** 2, gear**2]
    assert costs[:, 0].numpy() == pytest.approx(expected, rel=1e-6)


def test_speed_excess_begins_above_the_published_threshold(name):
    threshold = {"hopper": 0.7402, "walker2d": 2.3415}[name]
    env = make(name, num_envs=41, costs=("speed_excess",))
    env.reset()
    env.engine.field("qvel")[:, 0] = threshold + torch.linspace(-0.2, 0.2, 41)
    costs = env.step(torch.zeros(41, env.num_actions)).costs[:, 0]
    assert torch.equal(costs, (env.speed > threshold).float())
    assert 0 < costs.sum() < 41
    assert (env.speed - threshold).abs().min() < 0.02  # the line was approached from both sides


def test_costs_come_in_the_order_asked_for_and_do_not_change_the_physics(name):
    every, two, none = make(name), make(name, costs=("speed_excess", "mechanical_power")), make(name, costs=())
    for env in (every, two, none):
        env.reset()
    for actions in drawn_actions(every, 30, 0.5):
        a, b, c = every.step(actions), two.step(actions), none.step(actions)
        assert torch.equal(b.costs, a.costs[:, [COSTS.index(cost) for cost in two.cost_names]])
        assert c.costs.shape == (N, 0)
        assert torch.equal(a.obs["policy"], c.obs["policy"])
        assert torch.equal(a.reward, c.reward)


# episodes


def test_the_time_limit_truncates_and_gives_the_last_observation(name):
    env = make(name, episode_steps=5)
    env.reset()
    actions = torch.zeros(N, env.num_actions)
    for _ in range(4):
        result = env.step(actions)
        assert not (result.truncated | result.terminated).any()
        assert result.final_obs["critic"].shape == (0, env.obs_dims["critic"])
    saved = env.state_dict()
    result = env.step(actions)
    assert result.truncated.all()
    assert not result.terminated.any()
    assert result.final_ids.tolist() == list(range(N))
    other = make(name, episode_steps=1000)
    other.load_state_dict(saved)
    assert torch.equal(result.final_obs["policy"], other.step(actions).obs["policy"])
    qpos = env.engine.field("qpos").float()
    assert torch.equal(result.obs["policy"][:, : qpos.shape[1] - 1], qpos[:, 1:])
    assert not torch.equal(result.obs["policy"], result.final_obs["policy"])
    assert not env.step(actions).truncated.any()  # ages began anew


def test_a_fall_in_the_last_step_is_a_fall(name):
    env = make(name, episode_steps=1)
    env.reset()
    env.engine.field("qpos")[1, 2] = 1.5
    result = env.step(torch.zeros(N, env.num_actions))
    assert result.terminated.tolist() == [False, True, False]
    assert result.truncated.tolist() == [True, False, True]


def test_staggered_starts_end_at_different_times(name):
    env = make(name, num_envs=50, stagger=True, episode_steps=10)
    env.reset()
    counts = [int(env.step(torch.zeros(50, env.num_actions)).truncated.sum()) for _ in range(10)]
    assert sum(counts) == 50
    assert sum(count > 0 for count in counts) >= 7


@pytest.mark.parametrize("fault", ["state", "action"])
def test_what_is_not_finite_is_reset_and_marked(name, fault):
    env = make(name)
    env.reset()
    actions = torch.zeros(N, env.num_actions)
    if fault == "state":
        env.engine.field("qvel")[1, 2] = torch.nan
    else:
        actions[1, 0] = torch.nan
    result = env.step(actions)
    assert result.valid.tolist() == [True, False, True]
    assert result.truncated.tolist() == [False, True, False]
    assert not result.terminated.any()
    assert result.reward[1] == 0
    assert result.costs[1].abs().sum() == 0
    for tensor in (result.obs["policy"], result.final_obs["policy"], result.reward, result.costs):
        assert tensor.isfinite().all()
    assert env.step(torch.zeros(N, env.num_actions)).valid.all()


# contract


def test_it_is_a_vec_env_with_float32_outputs(name):
    env = make(name)
    assert isinstance(env, VecEnv)
    obs = env.reset()
    nq, nv = env.engine.model.nq, env.engine.model.nv
    assert {key: tuple(value.shape) for key, value in obs.items()} == dict.fromkeys(
        ("policy", "critic"), (N, nq + nv - 1)
    )
    result = env.step(torch.zeros(N, env.num_actions))
    assert {x.dtype for x in (*obs.values(), result.reward, result.costs)} == {torch.float32}
    assert env.symmetries == ()
    assert env.max_episode_length == 1000
    env.close()


def test_equal_seeds_give_equal_runs_and_others_do_not(name):
    envs = [make(name, seed, stagger=True, episode_steps=20) for seed in (3, 3, 4)]
    for env in envs:
        env.reset()
    runs = [roll(env, 60) for env in envs]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])
    assert sum(len(result.final_ids) for result in runs[0]) >= N


def test_threads_do_not_change_the_result(name):
    one, two = make(name, num_envs=8), make(name, num_envs=8, threads=2)
    one.reset(), two.reset()
    assert same(roll(one, 40), roll(two, 40))


def test_a_saved_state_continues_exactly(name, tmp_path):
    env = make(name, 3, stagger=True, episode_steps=40)
    env.reset()
    roll(env, 20)
    torch.save(env.state_dict(), tmp_path / "state.pt")
    saved = env.state_dict()
    expected = roll(env, 60, seed=1)
    assert sum(len(result.final_ids) for result in expected) > N
    other = make(name, 99, stagger=True, episode_steps=40)
    other.reset()
    roll(other, 3, seed=5)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(roll(other, 60, seed=1), expected)
    env.load_state_dict(saved)  # running on has not changed what was saved
    assert same(roll(env, 60, seed=1), expected)


def test_the_state_of_another_size_or_robot_is_refused():
    env = make("hopper")
    with pytest.raises(ValueError, match="shape"):
        env.load_state_dict(make("hopper", num_envs=N + 1).state_dict())
    with pytest.raises(ValueError, match="shape"):
        env.load_state_dict(make("walker2d").state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "hoper"}, "hopper"),
        ({"costs": ("mechanical_pover",)}, "mechanical_power"),
        ({"costs": ("speed_excess", "speed_excess")}, "once"),
        ({"num_envs": 0}, "num_envs: must be 1 or more, got 0"),
        ({"threads": -1}, "threads"),
        ({"episode_steps": 0}, "episode_steps"),
        ({"reward_scale": 0.0}, "reward_scale: must be above 0 and finite, got 0.0"),
        ({"reward_scale": float("nan")}, "reward_scale"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        PlanarConfig(**changes)


def test_an_unknown_model_and_actions_of_another_shape_are_refused():
    with pytest.raises(ConfigError, match="planar robot"):
        load_model("cheetah")
    with pytest.raises(ValueError, match=r"actions must be \(3, 3\), got \(3, 6\)"):
        make("hopper").step(torch.zeros(3, 6))
