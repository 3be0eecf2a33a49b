"""The documentation of robot files is checked against the code."""

import contextlib
import dataclasses
import io
import re
from pathlib import Path

import pytest
import yaml

from robolearn.config import parse
from sim.robots import load_robot
from sim.robots.description import RobotFile, per_joint

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "bring_your_own_robot.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)


def test_the_example_loads(files):
    example = next(text for kind, text in BLOCKS if kind == "yaml" and "model:" in text)
    robot = load_robot(files.write("mine.yaml", example))
    assert robot.joints == ("left_hip", "right_hip")
    assert robot.default_pose == (0.1, 0.1)


def test_the_python_lines_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        for kind, text in BLOCKS:
            if kind == "python":
                exec(text, {})
    assert output.getvalue().startswith("ant: 0.91 kg, 8 joints, 4 feet")


def test_the_patterns_mean_what_is_said():
    gains = next(yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml" and text.startswith("kp:"))
    assert per_joint(gains["kp"], ["hip", "left_ankle", "right_ankle"], "kp") == (40.0, 25.0, 20.0)


def test_the_mirror_by_hand_is_the_one_of_the_ant(files):
    entry = next(yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml" and text.startswith("mirror:"))
    path = ROOT / "examples" / "robots" / "ant.yaml"
    ant = yaml.safe_load(path.read_text()) | entry
    assert load_robot(files.write("ant.yaml", yaml.safe_dump(ant))).mirror == load_robot(path).mirror


def test_every_entry_is_documented():
    table = TEXT.split("## Entries")[1].split("## What")[0]
    documented = {
        name for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)
    }
    assert documented == {field.name for field in dataclasses.fields(RobotFile)}


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "robots").glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_parse_without_their_packages(path):
    file = parse(RobotFile, yaml.safe_load(path.read_text()))
    assert file.provenance["model"], "the source and its licence are named"


@pytest.mark.parametrize("name", ["a1", "go1", "go2", "aliengo", "bruce"])
def test_the_table_of_our_robots_is_true(name):
    robot = load_robot(name)
    row = next(
        line
        for line in (ROOT / "sim/robots/README.md").read_text().splitlines()
        if line.lower().startswith(f"| {name} ")
    )
    mass, height, gains = (cell.strip() for cell in row.strip("|").split("|")[1:])
    assert float(mass) == pytest.approx(robot.compile_summary()["mass"], abs=0.006)
    assert float(height) == pytest.approx(robot.base_height, abs=6e-4)
    assert tuple(map(float, gains.split("/"))) == (robot.kp[0], robot.kd[0])
    assert {"figures", "gains", "licence"} <= set(robot.provenance)
