import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import RecallEnv, TargetEnv, make_runner

from robolearn.rl import CheckpointError, latest_good, load_policy, read_checkpoint, seed_everything
from robolearn.rl.checkpoint import checkpoint_path, list_checkpoints, pack, unpack, write_checkpoint
from robolearn.rl.seeding import random_state, set_random_state


class Multiplier:
    def __init__(self):
        self.value = torch.zeros(2)

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize(
    ("env", "network", "ppo"),
    [
        (TargetEnv, {}, {"symmetry": "both"}),
        (lambda seed: TargetEnv(costs=2, seed=seed, invalid_every=150), {}, {"cost_gamma": 0.5}),
        (RecallEnv, {"rnn": "gru", "rnn_size": 4}, {}),
    ],
)
def test_n_steps_resume_and_n_steps_equal_2n_steps(tmp_path, env, network, ppo):
    straight = make_runner(env(seed=1), network=network, ppo=ppo)
    rows = []
    straight.learn(6, rows.append)

    first = make_runner(env(seed=1), tmp_path, network=network, ppo=ppo)
    result = first.learn(3)
    second = make_runner(env(seed=99), seed=99, network=network, ppo=ppo)  # nothing may depend on how it was started
    torch.rand(17), np.random.rand(3)  # noqa: NPY002
    second.load(result.checkpoint)
    resumed = []
    second.learn(6, resumed.append)

    straight.save(tmp_path / "a.pt")
    second.save(tmp_path / "b.pt")
    a, b = read_checkpoint(tmp_path / "a.pt"), read_checkpoint(tmp_path / "b.pt")
    for part in a:
        assert same(a[part], b[part]), part
    timeless = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows[3:]]
    assert timeless == [{k: v for k, v in row.items() if not k.startswith("time/")} for row in resumed]


def test_global_random_numbers_continue():
    seed_everything(3)
    generator = torch.Generator().manual_seed(4)
    state = unpack(pack(random_state(generator)))

    def draw():
        numbers = np.random.rand(2).tolist()  # noqa: NPY002
        return random.random(), numbers, torch.rand(2).tolist(), torch.rand(1, generator=generator)

    first = draw()
    assert draw() != first
    set_random_state(state, generator)
    assert draw() == first


def test_seed_everything_repeats():
    seed_everything(8)
    first = (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002
    seed_everything(8)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first  # noqa: NPY002


def test_extra_states_and_frozen_normalisers_are_kept(tmp_path):
    runner = make_runner(TargetEnv())
    runner.extra_states["multiplier"] = multiplier = Multiplier()
    multiplier.value += 3.0
    runner.policy.critic_norm.freeze()
    runner.save(tmp_path / "x.pt")
    other = make_runner(TargetEnv())
    with pytest.raises(CheckpointError, match=r"it holds the extra states \['multiplier'\], not \[\]"):
        other.load(tmp_path / "x.pt")
    other.extra_states["multiplier"] = Multiplier()
    other.load(tmp_path / "x.pt")
    assert other.extra_states["multiplier"].value.tolist() == [3.0, 3.0]
    assert other.policy.critic_norm.frozen
    assert not other.policy.actor_norm.frozen


def test_values_of_all_kinds_survive(tmp_path):
    state = {
        "array": np.arange(6, dtype=np.uint32).reshape(2, 3),
        "scalar": np.float64(2.5),
        "generator": np.random.default_rng(1).bit_generator.state,
        "nested": [(1, None, True), {"bytes": b"x", 3: "three"}],
        "tensor": torch.arange(3, dtype=torch.float64),
    }
    write_checkpoint(tmp_path / "x.pt", state)
    loaded = read_checkpoint(tmp_path / "x.pt")
    assert same({key: loaded[key] for key in state}, {**state, "scalar": 2.5})
    with pytest.raises(CheckpointError, match=r"state.a\[0\]: a value of type \w*Path"):
        write_checkpoint(tmp_path / "y.pt", {"a": [Path("x")]})
    assert not (tmp_path / "y.pt").exists()


def test_the_policy_is_read_without_an_environment(tmp_path):
    runner = make_runner(TargetEnv(costs=1))
    runner.learn(2)
    runner.save(tmp_path / "x.pt")
    policy = load_policy(tmp_path / "x.pt")
    obs = torch.randn(4, 2)
    memory = policy.initial_actor_memory(4)
    assert torch.equal(policy(obs, memory)[0], runner.policy(obs, memory)[0])
    assert not any(parameter.requires_grad for parameter in policy.parameters())


def folder_with(tmp_path, *iterations):
    for iteration in iterations:
        write_checkpoint(checkpoint_path(tmp_path, iteration), {"tensor": torch.randn(500), "iteration": iteration})
    return tmp_path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path, data: path.unlink(), "does not exist"),
        (lambda path, data: path.write_bytes(b""), "the file is empty"),
        (lambda path, data: path.write_bytes(data[: len(data) // 2]), "damaged, cut short or of another kind"),
        (lambda path, data: path.write_bytes(data[:1500] + b"!!!" + data[1503:]), "damaged, cut short"),
        (lambda path, data: path.write_bytes(b"hello"), "damaged, cut short or of another kind"),
    ],
)
def test_a_bad_file_is_refused_and_the_next_older_good_one_named(tmp_path, damage, message):
    folder = folder_with(tmp_path, 1, 5, 9, 12)
    bad = checkpoint_path(folder, 9)
    checkpoint_path(folder, 5).write_bytes(b"")
    damage(bad, bad.read_bytes())
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(bad)
    assert str(bad) in str(caught.value)
    assert str(caught.value).endswith(f"The last good checkpoint before it is {checkpoint_path(folder, 1)}")
    assert latest_good(folder) == checkpoint_path(folder, 12)


def test_a_flipped_byte_anywhere_is_noticed(tmp_path):
    write_checkpoint(tmp_path / "x.pt", {"tensor": torch.randn(50)})
    data = (tmp_path / "x.pt").read_bytes()
    for position in range(0, len(data), 7):
        (tmp_path / "x.pt").write_bytes(data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :])
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(tmp_path / "x.pt")


def test_no_older_checkpoint_is_said_too(tmp_path):
    with pytest.raises(CheckpointError, match="no older good checkpoint"):
        read_checkpoint(tmp_path / "checkpoint_000001.pt")
    assert latest_good(tmp_path) is None
    assert latest_good(tmp_path / "missing") is None
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)


def test_another_format_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("robolearn.rl.checkpoint.FORMAT_VERSION", 7)
    write_checkpoint(tmp_path / "x.pt", {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has format version 7, this program reads version 1"):
        read_checkpoint(tmp_path / "x.pt")


def test_no_code_of_the_file_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr("robolearn.rl.checkpoint.pack", lambda state: state)
    write_checkpoint(tmp_path / "x.pt", {"evil": Path("x")})
    with pytest.raises(CheckpointError, match="holds more than tensors and plain values"):
        read_checkpoint(tmp_path / "x.pt")


def test_other_networks_are_refused_by_name(tmp_path):
    make_runner(TargetEnv()).save(tmp_path / "x.pt")
    other = make_runner(TargetEnv(), network={"actor_hidden": (16,)})
    with pytest.raises(CheckpointError, match=r"policy.actor.layers.0.weight is \(32, 2\) in the file and \(16, 2\)"):
        other.load(tmp_path / "x.pt")


def test_another_number_of_environments_takes_over_what_was_learned(tmp_path):
    runner = make_runner(TargetEnv(num_envs=8))
    runner.learn(2)
    runner.save(tmp_path / "x.pt")
    other = make_runner(TargetEnv(num_envs=16))
    with pytest.warns(RuntimeWarning, match="new episodes start"):
        other.load(tmp_path / "x.pt")
    assert torch.equal(other.ppo.optimizer.params, runner.ppo.optimizer.params)
    assert other.learn(3).iteration == 3


def test_a_full_disk_keeps_the_last_good_file(tmp_path, monkeypatch):
    folder_with(tmp_path, 1, 2)
    good = checkpoint_path(tmp_path, 2).read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robolearn.rl.checkpoint.os.fsync", full)
    with pytest.raises(CheckpointError, match=r"the disk is full; free \d.*last good checkpoint before it is .*000001"):
        write_checkpoint(checkpoint_path(tmp_path, 2), {"tensor": torch.randn(500)})
    assert checkpoint_path(tmp_path, 2).read_bytes() == good
    assert len(list(tmp_path.iterdir())) == 2


KILLED = """
import os, signal, sys, torch
from robolearn.rl import checkpoint
moment = sys.argv[2]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "write":
    real = os.fsync
    def fsync(descriptor):
        os.ftruncate(descriptor, 1000)
        die()
    checkpoint.os.fsync = fsync
else:
    checkpoint.os.replace = die
checkpoint.write_checkpoint(sys.argv[1], {"tensor": torch.ones(5000)})
"""


@pytest.mark.parametrize("moment", ["write", "replace"])
def test_a_kill_while_saving_leaves_the_last_good_file(tmp_path, moment):
    path = checkpoint_path(tmp_path, 1)
    write_checkpoint(path, {"tensor": torch.zeros(3)})
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), moment], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert len(list(tmp_path.iterdir())) == 2  # the unfinished file lies beside it
    assert list_checkpoints(tmp_path) == [path]
    assert read_checkpoint(path)["tensor"].tolist() == [0.0, 0.0, 0.0]
    write_checkpoint(path, {"tensor": torch.ones(1)})
    assert list(tmp_path.iterdir()) == [path]
