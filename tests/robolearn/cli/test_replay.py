"""``robolearn replay``: a dump tells where its simulation broke; what is no dump is one clear line."""

import torch

from robolearn.cli.main import main
from sim.environment import EnvConfig, TaskEnv
from sim.robots import load_robot
from sim.tasks import load_task


def test_a_dump_is_told_in_words(tmp_path, capsys):
    env = TaskEnv(load_task("velocity_flat"), load_robot("a1"), EnvConfig(num_envs=2, threads=1))
    env.dump_folder = tmp_path
    env.reset()
    env.step(torch.zeros(2, 12))
    env.engine.field("qvel")[1, 9] = 1e9
    env.step(torch.zeros(2, 12))
    assert main(["replay", str(tmp_path / "divergence_1.npz")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1 environments, 2 records. task velocity_flat, robot a1" in lines[0]
    assert len(lines) == 2
    assert "1" in lines[1]


def test_what_is_no_dump_is_refused(tmp_path, capsys):
    path = tmp_path / "x.npz"
    path.write_bytes(b"nothing")
    assert main(["replay", str(path)]) == 1
    assert str(path) in capsys.readouterr().err
