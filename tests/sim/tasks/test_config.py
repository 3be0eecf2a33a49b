"""Task files: inheritance, removal, extensions, mistakes."""

import itertools

import pytest
import torch

from robolearn.config import ConfigError, config_hash, to_dict
from sim.environment import EnvConfig, TaskEnv
from sim.robots import list_robots, load_robot
from sim.tasks import list_tasks, load_task, reward


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("task", "robot"), itertools.product(list_tasks(), list_robots()))
def test_every_task_runs_on_every_robot(task, robot):
    smaller = {} if robot == "a1" else {"terrain": {"levels": 2, "columns": 5}}
    env = TaskEnv(load_task(task, smaller), load_robot(robot), EnvConfig(num_envs=2, threads=1))
    obs = env.reset()
    result = env.step(torch.zeros(2, env.num_actions))
    for name, width in env.obs_dims.items():
        assert obs[name].shape == result.obs[name].shape == (2, width)
        assert result.obs[name].isfinite().all()
    assert result.reward.isfinite().all()
    assert result.costs.shape == (2, len(env.cost_names))
    assert len(env.symmetries) == 1
    assert env.engine.diagnostics()["overflow"] == 0
    env.close()


def test_a_resolved_task_is_read_back_as_it_was():
    for name in list_tasks():
        task = load_task(name)
        again = load_task(to_dict(task))
        assert again == task
        assert config_hash(again) == config_hash(task)


def test_velocity_rough_differs_from_flat_where_it_says(tmp_path):
    flat, rough = load_task("velocity_flat"), load_task("velocity_rough")
    assert rough.rewards == flat.rewards
    assert rough.terrain.kind == "rough"
    assert rough.observations.policy.history == 6
    assert set(rough.observations.critic.terms) - set(flat.observations.critic.terms) == {"height_scan"}


def test_a_file_builds_on_a_task_and_removes_by_null(tmp_path):
    path = write(
        tmp_path / "mine.yaml",
        "base: velocity_flat\nname: mine\n"
        "rewards: {orientation: null, alive: {weight: 0.1}, joint_power: {weight: -1}}\n"
        "disturbances: {push: null}\nrandomization: null\nepisode_s: 5\n",
    )
    mine, flat = load_task(path), load_task("velocity_flat")
    assert "orientation" in flat.rewards
    assert set(mine.rewards) == set(flat.rewards) - {"orientation"} | {"alive"}
    assert mine.rewards["joint_power"] == {"weight": -1}
    assert mine.disturbances.push is None
    assert mine.disturbances.force == flat.disturbances.force
    assert mine.randomization == {}
    assert (mine.name, mine.episode_s) == ("mine", 5.0)


def test_bases_may_be_files_and_have_bases_themselves(tmp_path):
    write(tmp_path / "first.yaml", "base: velocity_flat\nname: first\nepisode_s: 3\nactions: {scale: 2.0}\n")
    (tmp_path / "sub").mkdir()
    second = write(tmp_path / "sub" / "second.yaml", "base: ../first.yaml\nname: second\nactions: {clip: 5}\n")
    task = load_task(second)
    assert (task.name, task.episode_s, task.actions.scale, task.actions.clip) == ("second", 3.0, 2.0, 5.0)


def test_overrides_come_last():
    task = load_task("velocity_flat", {"rewards": {"orientation": {"weight": -9.0}}, "costs": None})
    assert task.rewards["orientation"]["weight"] == -9.0
    assert task.costs == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: velocity_flat\nphysics: {timstep: 0.005}\n", "unknown key 'timstep'. Did you mean 'timestep'"),
        ("base: velocity_flat\nepisode_s: long\n", r"task\.episode_s: expected a number"),
        ("base: velocity_flat\nepisode_s: 0\n", "episode_s must be > 0"),
        ("base: velocity_flat\nrewards: {alive: 1.0}\n", r"task\.rewards\.alive: expected a mapping"),
        ("base: velocity_flat\nactions: {delay: [0, 5]}\n", "may not pass one control step"),
        ("base: velocity_flat\nactions: {delay: [2, 1]}\n", "delay must be an ordered pair"),
        ("base: velocity_flat\nactions: {scale: 0}\n", "scale and clip must be > 0"),
        ("base: velocity_fat\n", "unknown task 'velocity_fat'. Did you mean 'velocity_flat'"),
        ("base: me.yaml\n", "a task cannot be its own base"),
        ("base: velocity_flat\nextensions: terms.py\n", r"task\.extensions: expected a list"),
        ("base: velocity_flat\nextensions: [nowhere.py]\n", r"extensions: .*nowhere\.py is not a Python file"),
        ("name: x\n", "observations: required entry is missing"),
        ("base: velocity_flat\nterrain: {kind: hilly}\n", "terrain.kind: 'hilly' is not one of the choices"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_task(write(tmp_path / "me.yaml", text))


def test_an_unknown_task_gets_the_nearest_name(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'velocity_rough'"):
        load_task("velocity_ruogh")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_task(tmp_path / "none.yaml")


# extensions


def test_an_extension_adds_terms_once(tmp_path):
    write(
        tmp_path / "terms.py",
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom sim.tasks import reward\n\n"
        "@dataclass\nclass Gain:\n    value: float = 3.0\n\n"
        "@reward\ndef tripled_height(s, *, offset: float = 0.0):\n"
        '    """Height times 3."""\n    return s.base_height * Gain().value + offset\n',
    )
    rewards = "rewards: {tripled_height: {weight: 1, offset: 2}}\n"
    path = write(tmp_path / "x.yaml", "base: velocity_flat\nextensions: [terms.py]\n" + rewards)
    for _ in range(2):  # loading twice registers once
        task = load_task(path)
    assert load_task(to_dict(task)) == task
    assert "tripled_height" in reward
    env = TaskEnv(task, load_robot("a1"), EnvConfig(num_envs=2, threads=1))
    env.reset()
    log = env.step(torch.zeros(2, 12)).log
    assert float(log["term/tripled_height"]) == pytest.approx(3 * float(env.state.base_height.mean()) + 2)
    env.close()


def test_extensions_of_a_base_are_loaded_too_and_equal_names_do_not_collide(tmp_path):
    (tmp_path / "sub").mkdir()
    for folder, name in ((tmp_path, "own_one"), (tmp_path / "sub", "own_two")):
        write(
            folder / "terms.py",
            f'from sim.tasks import reward\n@reward\ndef {name}(s):\n    """One."""\n    return s.power\n',
        )
    write(tmp_path / "base.yaml", "base: velocity_flat\nextensions: [terms.py]\nrewards: {own_one: {weight: 1}}\n")
    text = "base: ../base.yaml\nextensions: [terms.py]\nrewards: {own_two: {weight: 1}}\n"
    task = load_task(write(tmp_path / "sub" / "task.yaml", text))
    load_task(tmp_path / "sub" / "task.yaml")
    assert {"own_one", "own_two"} <= set(task.rewards)
    assert {"own_one", "own_two"} <= set(reward)
    assert len(task.extensions) == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module_at_all\n", "fails to run: ModuleNotFoundError"),
        ("def broken(:\n", "fails to run: SyntaxError"),
        (
            'from sim.tasks import reward\n@reward\ndef alive(s):\n    """Mine."""\n    return s.power\n',
            "reward 'alive' is registered twice",
        ),
    ],
)
def test_a_failing_extension_is_one_clear_error(tmp_path, source, message):
    write(tmp_path / "bad.py", source)
    path = write(tmp_path / "x.yaml", "base: velocity_flat\nextensions: [bad.py]\n")
    for _ in range(2):  # a failed file counts as not loaded
        with pytest.raises(ConfigError, match=message):
            load_task(path)
