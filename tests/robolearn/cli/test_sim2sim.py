"""The words of the command; what it runs is tested in evaluate/sim2sim."""

import pytest

from robolearn.cli.main import main


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
