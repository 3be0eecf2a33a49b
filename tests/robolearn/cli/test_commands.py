"""list, config, bench, play and eval on a tiny trained run."""

import json

import numpy as np
import pytest
import yaml

from robolearn.cli import bench, demo
from robolearn.cli.config import explain, field_docs
from robolearn.cli.eval import parse_impulses
from robolearn.cli.main import main, parse
from robolearn.cli.play import parse_command
from robolearn.config import ConfigError
from robolearn.evaluate import rendering
from robolearn.experiment import ExperimentConfig, compose, list_experiments
from robolearn.rl.config import NetworkConfig, PPOConfig, RunnerConfig
from sim.environment import EnvConfig
from sim.robots import list_robots
from sim.tasks import list_tasks, reward

from .conftest import run_command

can_draw = pytest.mark.skipif(rendering.works() is not None, reason=f"needs {rendering.install_command()}")


def test_list_names_everything_with_a_line_about_it(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in [*list_experiments(), *list_tasks(), *list_robots()]:
        assert any(line.split()[:1] == [name] and len(line.split()) > 3 for line in lines), name


def test_list_terms_shows_the_words_of_task_files(capsys):
    assert main(["list", "--terms"]) == 0
    text = capsys.readouterr().out
    for name in (*reward, "friction", "mechanical_power", "tilt", "projected_gravity"):
        assert name in text


def test_config_prints_what_parses_to_the_same_thing(capsys):
    words = ["velocity_flat", "--robot", "go1", "--seed", "9"]
    assert main(["config", *words, "ppo.epochs=7"]) == 0
    text = capsys.readouterr().out
    expected = compose("velocity_flat", "go1", ["seed=9", "ppo.epochs=7"])
    assert compose(yaml.safe_load(text)) == expected


def test_config_shows_a_run(trained, capsys):
    assert main(["config", str(trained)]) == 0
    assert compose(yaml.safe_load(capsys.readouterr().out)) == compose(trained / "config.yaml")


def test_explain_gives_value_and_meaning(capsys):
    assert main(["config", "a1_velocity_flat", "ppo.epochs=7", "--explain", "ppo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ppo.epochs = 7  # passes over each roll-out." in lines
    assert len(lines) == len(PPOConfig.__dataclass_fields__)
    assert main(["config", "a1_velocity_flat", "--explain"]) == 0
    assert "task.commands.vx = " in capsys.readouterr().out
    assert main(["config", "eco/bruce_lite", "--explain", "eco"]) == 0
    out = capsys.readouterr().out
    assert "eco.constraints.energy.dual:  # the multiplier's controller.\n" in out
    assert "eco.constraints.energy.dual.period = 1  # iterations between two updates.\n" in out


@pytest.mark.parametrize("cls", [ExperimentConfig, EnvConfig, NetworkConfig, PPOConfig, RunnerConfig])
def test_every_setting_has_a_description(cls):
    assert set(field_docs(cls)) >= set(cls.__dataclass_fields__)


def test_explain_refuses_a_single_value():
    with pytest.raises(ConfigError, match="single value"):
        list(explain(compose("a1_velocity_flat"), "ppo.epochs"))


def test_bench_finds_scripts_by_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "fast.py").write_text('"""Measures speed.\n\nMore."""\nif __name__ == "__main__":\n    print(1)\n')
    (tmp_path / "slow.py").write_text('"""Fails."""\nif __name__ == "__main__":\n    raise SystemExit(3)\n')
    (tmp_path / "common.py").write_text('"""No benchmark."""\n')
    assert bench.scripts(tmp_path) == {"fast": "Measures speed.", "slow": "Fails."}
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    monkeypatch.setattr(bench.scripts, "__defaults__", (tmp_path,))
    assert main(["bench", "--list"]) == 0
    assert "Measures speed." in capsys.readouterr().out
    assert main(["bench", "fast"]) == 0
    assert main(["bench"]) == 1
    assert "failed: slow" in capsys.readouterr().err


@can_draw
def test_play_writes_a_video_and_a_contact_sheet(trained, tmp_path, capsys):
    import imageio.v3 as imageio
    from PIL import Image

    out, sheet = tmp_path / "walk.mp4", tmp_path / "walk.png"
    words = ["--command", "0.5,0,0", "--seconds", "0.4", "--width", "320", "--threads", "1"]
    assert main(["play", str(trained), *words, "--out", str(out), "--sheet", str(sheet)]) == 0
    frames = imageio.imread(out)
    assert frames.shape == (10, 180, 320, 3)
    assert frames.std() > 10
    assert np.asarray(Image.open(sheet)).shape[1] == 4 * 480
    assert "0.4 s of video" in capsys.readouterr().out


def test_without_opengl_play_says_what_to_install(trained, tmp_path):
    done = run_command("play", str(trained), "--out", str(tmp_path / "w.mp4"), "--threads", "1", MUJOCO_GL="off")
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert "apt-get install -y libegl1 libgl1-mesa-dri" in done.stderr


def test_a_window_without_a_display_is_one_line(trained, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["play", str(trained), "--viewer", "native"]) == 1
    assert "no display: use --viewer browser or --viewer video" in capsys.readouterr().err


def test_a_policy_of_another_task_is_refused(trained, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "policy.pt").write_bytes((trained / "checkpoints" / "checkpoint_000003.pt").read_bytes())
    text = (trained / "config.yaml").read_text().replace("    history: 1\n", "    history: 2\n")
    (other / "config.yaml").write_text(text)
    assert main(["play", str(other), "--viewer", "video", "--threads", "1"]) == 2
    assert (
        "the policy maps 45 observations to 12 actions, but this robot and task have 90 and 12"
        in capsys.readouterr().err
    )


def test_an_unknown_video_type_is_one_line(trained, capsys):
    assert main(["play", str(trained), "--out", "x.avi", "--threads", "1"]) == 2
    assert "must end in .mp4 or .gif" in capsys.readouterr().err


def test_eval_prints_and_writes_figures(trained, tmp_path, capsys):
    path = tmp_path / "figures.json"
    words = ["--seeds", "2", "--num-envs", "3", "--seconds", "1.4", "--impulses", "0,30", "--push-envs", "4"]
    assert main(["eval", str(trained), *words, "--json", str(path), "--threads", "1"]) == 0
    text = capsys.readouterr().out
    assert "6 episodes (2 seeds x 3)" in text and "planar velocity error" in text and "30.0 N s" in text
    data = json.loads(path.read_text())
    assert data["metrics"]["survival"]["count"] == 6
    assert [push["impulse"] for push in data["pushes"]] == [0.0, 30.0]
    assert sum(push["survival"]["count"] for push in data["pushes"]) <= 4


def test_eval_holds_a_setting_or_its_default(budget_file, tmp_path, capsys):
    path = tmp_path / "figures.json"
    words = ["--seeds", "1", "--num-envs", "2", "--seconds", "1.2", "--impulses", "none", "--threads", "1"]
    for given, held in (([], 0.9), (["--set", "budget=0.6"], 0.6)):
        assert main(["eval", str(budget_file.parent), *words, *given, "--json", str(path)]) == 0
        assert f"2 episodes (1 seeds x 2), budget {held:g}, mean" in capsys.readouterr().out
        assert json.loads(path.read_text())["settings"] == {"budget": held}


@pytest.mark.parametrize("command", [["eval", "--quick"], ["play", "--viewer", "video", "--seconds", "0.1"]])
def test_a_setting_that_a_policy_does_not_have_is_refused(trained, budget_file, command, capsys):
    words = [*command, "--threads", "1", "--set"]
    assert main([*words, "budget=0.6", str(trained)]) == 2
    assert "unknown setting 'budget': the task has none" in capsys.readouterr().err
    assert main([*words, "budget=0.3", str(budget_file.parent)]) == 2
    assert "setting 'budget': must be from 0.5 to 1, got 0.3" in capsys.readouterr().err


def test_eval_writes_a_report_that_can_be_played(trained, tmp_path, capsys):
    folder = tmp_path / "release"
    words = [
        "--seeds",
        "1",
        "--num-envs",
        "2",
        "--seconds",
        "1.2",
        "--impulses",
        "none",
        "--threads",
        "1",
        "--no-video",
    ]
    assert main(["eval", str(trained), *words, "--report", str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "report.json", "policy.pt", "config.yaml", "meta.json", "metrics.csv", "curves.png", "tracking.png"
    }  # fmt: skip
    assert (folder / "policy.pt").stat().st_size < (trained / "checkpoints" / "checkpoint_000003.pt").stat().st_size / 2
    assert main(["eval", str(folder), *words]) == 0
    assert capsys.readouterr().out.count("planar velocity error") == 2


def test_parse_command_and_impulses():
    assert parse_command("1,-0.5,2") == (1.0, -0.5, 2.0)
    assert parse_impulses("0,2.5") == [0.0, 2.5]
    assert parse_impulses("none") == [] and parse_impulses(None) is None


def test_the_stages_of_the_demo_are_commands_that_parse():
    stages = demo.stages("runs/demo", 4.0)
    assert [words[0] for _, words in stages] == ["train", "play", "eval", "export", "verify", "rehearse", "sim2sim"]
    for _, words in stages:
        assert parse(words[0], words[1:]) is not None


def test_compare_sets_runs_side_by_side(trained, tmp_path, capsys):
    words = ["compare", f"first={trained}", str(trained), "--num-envs=4", "--threads=1", f"--out={tmp_path}"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "first (seed 5): mechanical_power" in out and "a1_velocity_flat (seed 5)" in out
    rows = (tmp_path / "runs.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[1].split(",")[1:] == rows[2].split(",")[1:], "the same run, the same figures"
    assert (tmp_path / "report.html").read_text().count("<svg") == 4
