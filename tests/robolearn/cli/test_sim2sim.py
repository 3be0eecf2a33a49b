"""The words of the command; what it runs is tested in evaluate/sim2sim."""

import numpy as np
import pytest

from robolearn.cli.main import main
from robolearn.evaluate.sim2sim import suite
from robolearn.evaluate.sim2sim.world import make_world


def test_simulators_are_listed(capsys):
    assert main(["sim2sim", "--sims", "list"]) == 0
    assert "mujoco-soft" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give at least one policy file"),
        (["p.onnx", "--processes", "0"], "--processes 0: must be at least 1"),
        (["--ray", "p.onnx"], "--ray p.onnx: that is a policy file"),
        (["p.onnx", "--ray", "head:6379", "--processes", "4"], "as many cases at a time as it has CPUs"),
    ],
)
def test_wrong_words_are_explained(words, message, capsys):
    assert main(["sim2sim", *words]) == 1
    assert message in capsys.readouterr().err


class Seen(Exception):
    """The benchmark was about to begin."""


def test_a_setting_is_held_in_every_simulator(budget_file, tmp_path, monkeypatch, capsys):
    """The benchmark runs a copy of the file with that default: nothing else has to know of it."""
    seen = {}

    def run(_, policies, *__):
        seen.update(policies)
        raise Seen

    monkeypatch.setattr(suite, "run", run)
    words = ["sim2sim", str(budget_file), "--out", str(tmp_path), "--set"]
    with pytest.raises(Seen):
        main([*words, "budget=0.6"])
    (copy,) = seen.values()
    targets = []
    for path, held in ((budget_file, 0.9), (copy, 0.6)):
        world = make_world(path, "mujoco", 2)
        world.reset()
        assert [policy.settings for policy in world.policies] == [{"budget": held}] * 2
        targets.append(world.act(world.signals()).numpy())
        world.close()
    assert not np.allclose(*targets, atol=1e-5)
    assert main([*words, "budget=2"]) == 2
    assert f"{budget_file}: setting 'budget': must be from 0.5 to 1, got 2" in capsys.readouterr().err
