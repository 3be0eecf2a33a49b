"""docs/tasks.md says what the code does: its tables are the code's own, its examples run."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from robolearn.config import merge
from robolearn.experiment import compose
from sim.environment import EnvConfig, TaskEnv
from sim.robots import load_robot
from sim.tasks import load_task, reward
from sim.tasks.reference import SECTIONS, attribute_docs, key_tables, term_tables

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "tasks"
TEXT = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_code():
    for table in (key_tables(), term_tables()):
        assert table in TEXT, "docs/tasks.md is out of date: replace its tables by `python -m sim.tasks.reference`"


@pytest.mark.parametrize("config", SECTIONS.values())
def test_every_key_says_what_it_means(config):
    assert set(attribute_docs(config)) >= set(config.__dataclass_fields__)
    assert all(attribute_docs(config).values())


@pytest.mark.parametrize("name", ["trot.py", "trot.yaml", "a1_trot.yaml"])
def test_the_example_is_shown_as_it_is(name):
    assert (EXAMPLES / name).read_text(encoding="utf-8").strip() in TEXT


def test_the_example_task_runs_and_its_term_is_what_it_says():
    task = compose(EXAMPLES / "a1_trot.yaml").task
    assert "foot_clearance" not in task.rewards
    assert task.rewards["track_linear_velocity"] == {"weight": 2, "sigma": 0.25}
    env = TaskEnv(task, load_robot("a1"), EnvConfig(num_envs=5, threads=1))
    env.reset()
    assert env.step(torch.zeros(5, 12)).log["term/trot"].isfinite()
    yes, no = True, False
    env.state.foot_contact[:] = torch.tensor(
        [[yes, no, no, yes], [no, yes, yes, no], [yes, yes, no, no], [yes] * 4, [yes, no, no, yes]]
    )
    env.state.command[:] = torch.tensor([1.0, 0.0, 0.0])
    env.state.command[4] = 0.0
    assert reward.bind("trot", {})(env.state).tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    env.close()


def test_the_annotated_file_is_a_valid_task():
    block = re.search(r"```yaml\n(base: velocity_flat .*?)```", TEXT, re.DOTALL)
    entries = yaml.safe_load(block.group(1))
    small = {"terrain": {"levels": 1, "columns": 5}}
    env = TaskEnv(load_task(merge(entries, small)), load_robot("go2"), EnvConfig(num_envs=2, threads=1))
    env.reset()
    result = env.step(torch.zeros(2, 12))
    assert set(result.obs) == {"policy", "critic", "privileged"}
    assert "orientation" not in env._terms.reward_names
    assert env.disturbances.config.force is None
    env.close()


def test_the_command_line_override_of_the_page_works():
    text = re.search(r"robolearn train velocity_flat --robot a1 (task\.\S+)`", TEXT).group(1)
    assert compose("velocity_flat", robot="a1", overrides=[text]).task.rewards["orientation"]["weight"] == -0.5
