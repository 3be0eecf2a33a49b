"""Roll-outs: metrics of hand-made traces, and the bookkeeping of alive, fell and invalid on a scripted environment."""

import dataclasses

import numpy as np
import pytest
import torch

from robolearn.evaluate.pushes import push_survival
from robolearn.evaluate.rollout import (
    METRICS,
    TOUR,
    Player,
    Trace,
    cut,
    per_environment,
    quiet,
    record,
    rollout,
    steady_means,
    summarise,
    tracking_share,
    within,
)  # fmt: skip
from robolearn.evaluate.transport import GRAVITY
from robolearn.experiment import compose, make_env
from robolearn.rl import ActorCritic
from robolearn.rl.config import NetworkConfig
from sim.commands import VelocityCommandConfig
from sim.interface import StepResult


def make_trace(**changes):
    """Two robots for five steps of 0.5 s: the first walks at a constant error, the second falls in the third step."""
    alive = np.array([[1, 1], [1, 1], [1, 0], [1, 0], [1, 0]], bool)
    command = np.zeros((5, 2, 3))
    command[:] = (1.0, 0.0, 0.5)
    velocity = np.zeros((5, 2, 3))
    velocity[:, 0] = (0.6, 0.3, 0.4)
    velocity[:2] = 99.0  # while settling: must not count
    fields = {
        "dt": 0.5,
        "alive": alive,
        "command": command,
        "velocity": velocity,
        "power": np.full((5, 2), 40.0),
        "action_rate": np.tile([0.1, 0.2], (5, 1)),
        "fell": np.array([False, True]),
        "invalid": np.array([False, False]),
        "mass": 10.0,
        "reward": np.tile([[9.0], [9.0], [0.3], [0.5], [0.7]], (1, 2)),
    }
    return Trace(**(fields | changes))


def test_rewards_and_costs_are_means_of_the_steps_that_count():
    trace = make_trace(costs={"heat": np.array([[9.0, 9.0]] * 2 + [[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])})
    assert trace.mean_reward(1.0)[0] == pytest.approx(0.5) and np.isnan(trace.mean_reward(1.0)[1])
    assert trace.mean_cost("heat", 1.0)[0] == pytest.approx(2.0) and np.isnan(trace.mean_cost("heat", 1.0)[1])


def test_metrics_of_a_constant_walk_by_hand():
    values = per_environment(make_trace(), settle_s=1.0)
    expected = {
        "velocity_error": np.hypot(0.4, 0.3),
        "yaw_rate_error": 0.1,
        "velocity_tracking": np.exp(-0.25 / 0.25),
        "yaw_rate_tracking": np.exp(-0.01 / 0.25),
        "survival": 1.0,
        "power": 40.0,
        "cost_of_transport": 40.0 / (10.0 * GRAVITY * 0.6),  # it was asked to go straight ahead
        "action_rate": 0.1,
    }
    assert set(expected) == set(METRICS)
    for name, value in expected.items():
        assert values[name][0] == pytest.approx(value), name


def test_a_robot_without_counted_steps_has_no_errors_but_counts_as_fallen():
    values = per_environment(make_trace(), settle_s=1.0)
    assert values["survival"][1] == 0.0
    assert all(np.isnan(values[name][1]) for name in METRICS if name != "survival")


def test_the_rms_is_taken_over_time():
    velocity = np.zeros((4, 1, 3))
    velocity[:, 0, 0] = (1.0, 0.0, 1.0, 0.0)
    trace = make_trace(
        alive=np.ones((4, 1), bool), command=np.zeros((4, 1, 3)), velocity=velocity,
        power=np.ones((4, 1)), action_rate=np.ones((4, 1)), fell=np.array([False]), invalid=np.array([False]),
    )  # fmt: skip
    values = per_environment(trace, settle_s=0.0)
    assert values["velocity_error"][0] == pytest.approx(np.sqrt(0.5))
    assert np.isnan(values["cost_of_transport"][0]), "not asked to move: no cost of transport"


def test_an_invalid_simulation_is_no_survival():
    trace = make_trace(fell=np.array([False, False]), invalid=np.array([False, True]))
    assert trace.survived.tolist() == [True, False]


def test_summary_pools_the_environments_of_all_traces():
    summary = summarise([make_trace(), make_trace()])
    assert summary["survival"].value == 0.5 and summary["survival"].count == 4
    assert summary["power"].value == pytest.approx(40.0) and summary["power"].count == 2
    assert summary["velocity_error"].low <= summary["velocity_error"].value <= summary["velocity_error"].high


def test_summary_leaves_out_what_no_robot_has():
    trace = make_trace(command=np.zeros((5, 2, 3)))
    assert np.isnan(tracking_share(trace)), "nothing was commanded"
    assert "cost_of_transport" not in summarise([trace])


def test_steady_means():
    commanded, measured = steady_means(make_trace(), settle_s=1.0)
    assert commanded[0] == pytest.approx([1.0, 0.0, 0.5])
    assert measured[0] == pytest.approx([0.6, 0.3, 0.4])
    assert np.isnan(measured[1]).all()


@pytest.mark.parametrize(
    ("seconds", "lengths"), [(None, [3, 2, 2, 1, 2]), (4.0, [3, 1]), (3.0, [3]), (12.0, [3, 2, 2, 1, 4]), (0.5, [0.5])]
)
def test_cut(seconds, lengths):
    assert [length for length, _ in cut(TOUR, seconds)] == pytest.approx(lengths)


def test_a_tour_stays_within_what_the_task_asks_for():
    narrow = VelocityCommandConfig(vx=(0.1, 0.1), vy=(0.0, 0.0), yaw_rate=(-0.5, 1.0))
    expected = [(3, (0.1, 0, 0)), (2, (0.1, 0, 1.0)), (2, (0.1, 0, 0)), (1, (0.1, 0, 0)), (2, (0.1, 0, -0.5))]
    assert list(within(TOUR, narrow)) == expected
    assert list(within(TOUR, VelocityCommandConfig())) == list(TOUR)


def test_the_player_forgets_what_it_is_told_to_forget():
    policy = ActorCritic({"policy": 3, "critic": 3}, 2, 0, NetworkConfig(actor_hidden=(4,), rnn="gru", rnn_size=5))
    obs = {"policy": torch.ones(4, 3)}
    player, fresh = Player(policy, 4), Player(policy, 4)
    first = player(obs)
    second = player(obs)
    assert not torch.allclose(first, second), "memory matters"
    player.forget(torch.tensor([1, 3]))
    third = player(obs)
    torch.testing.assert_close(third[[1, 3]], fresh(obs)[[1, 3]])
    assert not torch.allclose(third[[0, 2]], first[[0, 2]])


@pytest.fixture(scope="module")
def config():
    small = [
        "env.num_envs=4",
        "env.threads=1",
        "task.episode_s=1.0",
        "task.randomization.initial_base=null",
        "task.randomization.initial_joints=null",
        "task.actions.delay=[0, 0]",
    ]
    return quiet(compose("a1_velocity_flat", overrides=small))


@pytest.fixture(scope="module")
def standing(config):
    """An environment, and a policy that asks for the default pose: the robot just stands."""
    env = make_env(config)
    policy = ActorCritic(env.obs_dims, env.num_actions, 0, NetworkConfig(actor_hidden=(4,), critic_hidden=(4,)))
    for parameter in policy.actor.parameters():
        parameter.data.zero_()
    yield env, policy
    env.close()


def test_quiet_removes_pushes_and_keeps_one_command_per_episode(config):
    task = config.task
    assert task.disturbances.push is None and task.disturbances.force is None
    assert task.commands.resample_s[0] > task.episode_s


def test_a_standing_robot_survives_and_misses_its_command(standing):
    env, policy = standing
    trace = rollout(env, policy)
    assert trace.alive.shape == (env.max_episode_length, 4)
    assert trace.alive[:-1].all() and not trace.alive[-1].any(), "the time limit ends the episode"
    assert trace.survived.all()
    assert trace.mass == pytest.approx(12.45, abs=0.05)
    commanded = np.linalg.norm(trace.command[-2, :, :2], axis=-1)
    errors = per_environment(trace, settle_s=0.5)["velocity_error"]
    np.testing.assert_allclose(errors, commanded, atol=0.1)
    assert (trace.action_rate == 0).all()


def test_rollouts_repeat(config, standing):
    _, policy = standing
    traces = []
    for _ in range(2):
        env = make_env(config, seed=3)
        traces.append(rollout(env, policy, 10))
        env.close()
    np.testing.assert_array_equal(traces[0].velocity, traces[1].velocity)
    np.testing.assert_array_equal(traces[0].command, traces[1].command)


class Scripted:
    """Wraps an environment and overrules how episodes end, by a table of step and environment."""

    def __init__(self, env, falls=(), invalid=()):
        self._env, self._falls, self._invalid, self._t = env, set(falls), set(invalid), 0

    def __getattr__(self, name):
        return getattr(self._env, name)

    def reset(self):
        self._t = 0
        return self._env.reset()

    def step(self, actions) -> StepResult:
        result = self._env.step(actions)
        terminated, valid = torch.zeros_like(result.terminated), torch.ones_like(result.valid)
        for i in range(self._env.num_envs):
            terminated[i] = (self._t, i) in self._falls
            valid[i] = (self._t, i) not in self._invalid
        self._t += 1
        return dataclasses.replace(result, terminated=terminated, valid=valid)


def test_only_the_first_end_of_an_episode_counts(standing):
    env, policy = standing
    trace = rollout(Scripted(env, falls=[(2, 1), (7, 0)], invalid=[(4, 1), (5, 3)]), policy, 8)
    assert trace.fell.tolist() == [True, True, False, False]
    assert trace.invalid.tolist() == [False, False, False, True], "robot 1 had fallen before"
    assert trace.alive[:, 0].tolist() == [True] * 7 + [False]
    assert trace.alive[:, 1].tolist() == [True] * 2 + [False] * 6
    assert trace.alive[:, 2].all()


def test_a_roll_out_ends_when_nobody_stands(standing):
    env, policy = standing
    trace = rollout(Scripted(env, falls=[(3, i) for i in range(4)]), policy, 40)
    assert len(trace.alive) == 4


def test_record_follows_the_schedule(standing):
    env, policy = standing
    film = record(env, policy, [(0.2, (0.5, 0.0, 0.0)), (0.1, (0.0, 0.0, -1.0))], "title")
    assert film.qpos.shape == (15, env.scene.model.nq)
    assert film.command[:10].tolist() == [[0.5, 0.0, 0.0]] * 10 and film.command[10:].tolist() == [[0.0, 0.0, -1.0]] * 5
    assert (film.title, film.falls, film.dt) == ("title", 0, env.step_dt)
    assert env.commands.fixed is None, "the environment draws its own commands again"


def test_a_toppled_robot_has_fallen_though_nothing_forbidden_touches(config, standing):
    _, policy = standing
    env = make_env(config)

    def topple(t):
        if t == 5:
            env.engine.field("qpos")[2, 2:7] = torch.tensor([2.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64)

    trace = rollout(env, policy, 7, topple)
    assert trace.fell.tolist() == [False, False, True, False]
    assert trace.alive[:, 2].tolist() == [True] * 5 + [False] * 2
    env.close()


def test_pushes_have_the_impulse_they_claim(config):
    """The forces that the environment sees, summed over time, and what becomes of the robots."""
    long = dataclasses.replace(config, task=dataclasses.replace(config.task, episode_s=30.0))
    env = make_env(long, num_envs=6)
    policy = ActorCritic(env.obs_dims, env.num_actions, 0, NetworkConfig(actor_hidden=(4,), critic_hidden=(4,)))
    for parameter in policy.actor.parameters():
        parameter.data.zero_()
    seen = []
    step = env.step

    def watch(actions):
        seen.append(env.disturbances.external.clone())
        return step(actions)

    env.step = watch
    results = push_survival(env, policy, [0.0, 4.0, 400.0], seed=1, duration_s=0.1)
    forces = torch.stack(seen)
    assert forces.shape[0] == 100 + 5 + 150
    assert (forces[:100] == 0).all() and (forces[105:] == 0).all()
    impulses = (forces * env.step_dt).sum(0).norm(dim=1)
    assert impulses.tolist() == pytest.approx([0.0, 4.0, 400.0] * 2, rel=1e-5)
    assert (forces[..., 2] == 0).all()
    assert [result.impulse for result in results] == [0.0, 4.0, 400.0]
    assert [result.survival.count for result in results] == [2, 2, 2]
    assert results[0].survival.value == 1.0 and results[2].survival.value == 0.0
    assert results[1].velocity_change == pytest.approx(4.0 / 12.45, rel=0.01)
    with pytest.raises(ValueError, match="7 impulses need at least as many environments"):
        push_survival(env, policy, range(7))
    env.close()


def test_how_much_of_the_command_is_followed_by_hand():
    """The first robot's speed is 0.5 off 1.0, its turning 0.1 off 0.5; the second fell before it was up to speed."""
    assert tracking_share(make_trace(), settle_s=1.0) == pytest.approx(0.5)
    still = np.zeros((5, 2, 3))
    still[:, 0] = (1.0, 0.0, 0.5)
    velocity = np.zeros((5, 2, 3))
    velocity[:, 0], velocity[:, 1] = (1.0, 0.0, 0.3), (0.0, 0.6, 0.0)
    both = make_trace(command=still, velocity=velocity, alive=np.ones((5, 2), bool))
    assert tracking_share(both, settle_s=1.0) == pytest.approx(0.4), "the drift of one that was told to stand counts"
