import os
import signal

import pytest
import torch
from toy import TargetEnv, make_runner

from robolearn.rl import CheckpointError, DivergenceError, latest_good, load_policy
from robolearn.rl.runner import _LogMeter


def test_metrics_are_those_of_the_environment():
    env = TargetEnv(num_envs=10, costs=2, limit=5)
    runner = make_runner(env, runner={"iterations": 1, "steps_per_env": 10}, network={"normalize": False})
    rows = []
    result = runner.learn(on_iteration=rows.append)
    (metrics,) = rows
    storage = runner.storage
    assert result.iteration == 1
    assert metrics["train/mean_step_reward"] == pytest.approx(storage.rewards[..., 0].mean().item(), rel=1e-5)
    assert metrics["cost/cost_1"] == pytest.approx(storage.rewards[..., 2].mean().item(), rel=1e-5)
    assert metrics["env/half"] == 0.5
    assert metrics["env/error"] == pytest.approx(-metrics["train/mean_step_reward"], rel=1e-5)
    assert metrics["train/total_steps"] == 100.0
    returns, lengths = [], []
    for n in range(10):
        total, length = 0.0, 0
        for t in range(10):
            total, length = total + storage.rewards[t, n, 0].item(), length + 1
            if storage.truncated[t, n]:
                returns.append(total)
                lengths.append(length)
                total, length = 0.0, 0
    assert metrics["train/episodes"] == len(returns)
    assert metrics["train/mean_reward"] == pytest.approx(sum(returns) / len(returns), rel=1e-4)
    assert metrics["train/mean_episode_length"] == pytest.approx(sum(lengths) / len(lengths))
    for name in ("loss/value", "loss/surrogate", "loss/entropy", "ppo/kl", "ppo/std", "time/fps", "time/left_s"):
        assert name in metrics


def test_log_means_skip_steps_without_a_number():
    meter = _LogMeter()
    meter.add({"a": 1.0, "b": torch.tensor(2.0), "c": torch.tensor(float("nan"))})
    meter.add({"a": 3.0, "b": torch.tensor(4.0), "c": torch.tensor(5.0)})
    meter.add({"b": torch.tensor(9), "d": float("nan")})
    assert meter.means() == {"a": 2.0, "b": 5.0, "c": 5.0}


def test_mean_return_is_taken_over_a_window_of_episodes():
    runner = make_runner(TargetEnv(num_envs=8, limit=2), runner={"episode_window": 30})
    for _ in range(5):  # 24 episodes each
        metrics = runner.collect()
    assert sum(item[2] for item in runner._finished) == 48.0
    assert metrics["train/mean_episode_length"] == pytest.approx(2.0)


def test_a_linear_schedule_falls_to_0_at_the_end_of_the_run():
    rows = []
    runner = make_runner(TargetEnv(), runner={"iterations": 4}, ppo={"schedule": "linear", "learning_rate": 8e-3})
    runner.learn(on_iteration=rows.append)
    assert [row["ppo/learning_rate"] for row in rows] == pytest.approx([8e-3, 6e-3, 4e-3, 2e-3])


def test_same_seed_same_run():
    results = []
    for seed in (5, 5, 6):
        runner = make_runner(TargetEnv(num_envs=8, seed=seed), seed=seed)
        runner.learn()
        results.append(runner.ppo.optimizer.params.clone())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(tmp_path, number):
    before = signal.getsignal(number)
    runner = make_runner(TargetEnv(num_envs=8), tmp_path, runner={"iterations": 50})

    def interrupt(metrics):
        if metrics["train/iteration"] == 3:
            os.kill(os.getpid(), number)

    result = runner.learn(on_iteration=interrupt)
    assert result.interrupted
    assert result.iteration == 3
    assert result.checkpoint == latest_good(tmp_path) == tmp_path / "checkpoint_000003.pt"
    assert signal.getsignal(number) is before


@pytest.fixture
def interruptible():
    """Started in the background of a shell, a test process ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_interrupts_at_once(tmp_path, interruptible):
    runner = make_runner(TargetEnv(num_envs=8), tmp_path, runner={"iterations": 50, "checkpoint_every": 1})

    def interrupt(metrics):
        if metrics["train/iteration"] == 2:
            # To this very thread: os.kill may reach another one, and two that wait there are one to Python.
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        runner.learn(on_iteration=interrupt)
    assert latest_good(tmp_path) == tmp_path / "checkpoint_000001.pt"


def test_the_time_limit_ends_the_run(tmp_path):
    runner = make_runner(TargetEnv(num_envs=8), tmp_path, runner={"iterations": 50, "max_seconds": 1e-6})
    result = runner.learn()
    assert (result.iteration, result.out_of_time, result.interrupted) == (1, True, False)


def test_checkpoints_are_written_and_old_ones_removed(tmp_path):
    runner = make_runner(TargetEnv(num_envs=8), tmp_path, runner={"iterations": 7, "keep_checkpoints": 2})
    runner.learn()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_000006.pt", "checkpoint_000007.pt"]


def test_invalid_transitions_are_counted_and_too_many_stop_the_run(tmp_path):
    env = TargetEnv(num_envs=8, invalid_every=3)
    runner = make_runner(env, tmp_path, runner={"max_invalid_share": 0.05})
    rows = []
    runner.learn(on_iteration=rows.append)
    assert rows[0]["train/invalid_share"] == pytest.approx(2 / 48)
    assert not runner.storage.valid.all()
    runner = make_runner(env, tmp_path / "strict")
    with pytest.raises(
        DivergenceError, match=r"iteration 1: 4.17% of the transitions were invalid.*checkpoint_000000.pt"
    ):
        runner.learn()
    assert latest_good(tmp_path / "strict") is not None


def test_a_run_without_one_finite_gradient_stops(tmp_path):
    env = TargetEnv(num_envs=8)
    hooks = {"auxiliary_losses": [lambda batch: {"trap": batch.mean.sum() * float("nan")}]}
    runner = make_runner(env, tmp_path, **hooks)
    before = runner.ppo.optimizer.params.clone()
    with pytest.raises(DivergenceError, match="no minibatch of this iteration had a finite gradient"):
        runner.learn()
    assert torch.equal(before, runner.ppo.optimizer.params)
    assert load_policy(tmp_path / "checkpoint_000000.pt") is not None


def test_a_full_disk_does_not_stop_training_but_the_end_says_so(tmp_path, monkeypatch):
    runner = make_runner(TargetEnv(num_envs=8), tmp_path, runner={"iterations": 5})
    failing = iter([False, True, True])  # iterations 2, 4 and 5

    def fsync(_):
        if next(failing):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("robolearn.rl.checkpoint._sync_folder", lambda folder: None)
    monkeypatch.setattr("robolearn.rl.checkpoint.os.fsync", fsync)
    with pytest.warns(RuntimeWarning, match="goes on without"), pytest.raises(CheckpointError, match="disk is full"):
        runner.learn()
    assert runner.iteration == 5
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_000002.pt"]
    assert latest_good(tmp_path) == tmp_path / "checkpoint_000002.pt"
