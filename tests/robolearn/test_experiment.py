"""Composition of experiments: names, pairs, files, overrides, and the round trip of the resolved configuration."""

import dataclasses

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.config import ConfigError, config_hash, dump_yaml, to_dict
from robolearn.experiment import ExperimentConfig, compose, list_experiments, make_env, make_runner, overlay
from sim.robots import list_robots
from sim.tasks import list_tasks


@pytest.mark.parametrize("name", list_experiments())
def test_every_experiment_of_the_project_is_whole(name):
    config = compose(name)
    assert config.name == name.replace("/", "_")
    assert config.robot in list_robots()
    again = compose(yaml.safe_load(dump_yaml(config)))
    assert again == config
    assert config_hash(again) == config_hash(config)


def test_any_pair_works_without_a_file():
    config = compose("velocity_flat", robot="go2")
    assert (config.name, config.robot, config.task.name) == ("go2_velocity_flat", "go2", "velocity_flat")
    defaults = compose("velocity_flat", robot="a1")
    assert config.ppo == defaults.ppo and config.runner == defaults.runner


def test_another_robot_renames_the_experiment():
    config = compose("a1_velocity_flat", robot="go1")
    assert (config.name, config.robot) == ("go1_velocity_flat", "go1")
    assert config.task == compose("a1_velocity_flat").task


def test_overrides_reach_every_level():
    config = compose(
        "a1_velocity_flat",
        overrides=[
            "ppo.learning_rate=1e-4",
            "task.rewards.action_rate.weight=-0.02",
            "network.actor_hidden=[8, 4]",
            "task.commands.vx=[0, 2]",
            "seed=7",
        ],
    )
    assert config.ppo.learning_rate == 1e-4
    assert config.task.rewards["action_rate"] == {"weight": -0.02}
    assert config.network.actor_hidden == (8, 4)
    assert config.task.commands.vx == (0.0, 2.0)
    assert config.seed == 7


def test_null_removes_an_entry_of_a_table_and_sets_an_optional_field():
    config = compose(
        "a1_velocity_flat",
        overrides=["task.rewards.orientation=null", "ppo.value_clip=null", "task.disturbances.push="],
    )
    assert "orientation" not in config.task.rewards
    assert config.ppo.value_clip is None
    assert config.task.disturbances.push is None
    assert config.task.disturbances.force == compose("a1_velocity_flat").task.disturbances.force
    assert compose(yaml.safe_load(dump_yaml(config))) == config


def test_a_file_builds_on_another_and_on_a_task(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "base: a1_velocity_flat\n"
        "task: {base: velocity_flat, name: gentle, rewards: {action_rate: {weight: -0.05}, smoothness: null}}\n"
        "ppo: {epochs: 2, value_clip: null}\n"
    )
    config, below = compose(path), compose("a1_velocity_flat")
    assert config.name == "mine" and config.robot == "a1"
    assert config.task.name == "gentle"
    assert config.task.rewards["action_rate"]["weight"] == -0.05
    assert "smoothness" not in config.task.rewards
    assert config.task.rewards["orientation"] == below.task.rewards["orientation"]
    assert config.ppo == dataclasses.replace(below.ppo, epochs=2, value_clip=None)


def test_files_named_in_a_file_are_relative_to_it(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "task.yaml").write_text("base: velocity_flat\nname: short\nepisode_s: 5\n")
    (tmp_path / "sub" / "e.yaml").write_text("base: defaults\nrobot: a1\ntask: task.yaml\n")
    assert compose(tmp_path / "sub" / "e.yaml").task.episode_s == 5.0


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("velocity_flta", {}, "unknown experiment or task 'velocity_flta'. Did you mean 'velocity_flat'?"),
        ("velocity_flat", {}, "needs a robot"),
        ("none.yaml", {}, "none.yaml: cannot be read"),
        ("a1_velocity_flat", {"overrides": ["ppo.learning_rat=1"]}, "'learning_rat'. Did you mean 'learning_rate'?"),
        ("a1_velocity_flat", {"overrides": ["pop.epochs=1"]}, "unknown key 'pop'. Did you mean 'ppo'?"),
        ("a1_velocity_flat", {"overrides": ["ppo.epochs=two"]}, "ppo.epochs: expected int, got 'two' (str)"),
        ("a1_velocity_flat", {"overrides": ["ppo.epochs=null"]}, "ppo.epochs: expected int, got None"),
        ("a1_velocity_flat", {"overrides": ["ppo.epochs=0"]}, "epochs: must be above 0"),
        ("a1_velocity_flat", {"overrides": ["seed=-1"]}, "seed must be >= 0"),
        ("a1_velocity_flat", {"overrides": ["name=a/b"]}, "name must be usable as a folder name"),
        ("a1_velocity_flat", {"overrides": ["ppo"]}, "expected KEY.SUBKEY=VALUE"),
        ("a1_velocity_flat", {"overrides": ["task=velocity_rough"]}, "name the task as the first argument"),
        ("a1_velocity_flat", {"overrides": ["task.reward.x=1"]}, "unknown key 'reward'. Did you mean 'rewards'?"),
        ("a1_velocity_flat", {"overrides": ["env.engine=warpp"]}, "Did you mean 'warp'?"),
    ],
)
def test_wrong_input_is_named(source, options, message):
    with pytest.raises(ConfigError) as caught:
        compose(source, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("robot=a2", "unknown robot 'a2'"),
        ("task.rewards.orientatoin.weight=-1", "Did you mean 'orientation'?"),
        ("task.rewards.orientation.wieght=-1", "wieght"),
        ("task.observations.policy.terms.gravity.scale=1", "observation term 'gravity'"),
    ],
)
def test_what_only_the_environment_can_judge_is_judged_when_it_is_built(override, message):
    with pytest.raises(ConfigError) as caught:
        make_env(compose("a1_velocity_flat", overrides=[override, "env.num_envs=1", "env.threads=1"]))
    assert message in str(caught.value)


def test_settings_that_do_not_fit_the_roll_out_are_refused():
    small = ["env.num_envs=1", "env.threads=1", "runner.steps_per_env=2", "ppo.minibatches=4"]
    config = compose("a1_velocity_flat", overrides=small)
    with pytest.raises(ConfigError, match=r"ppo\.minibatches: 4 is more than the 2 samples"):
        make_runner(config, make_env(config))


_weights = st.dictionaries(
    st.sampled_from(["orientation", "action_rate", "base_height"]), st.floats(-10, 10), max_size=3
)


@settings(max_examples=12)
@given(
    st.integers(0, 2**31),
    st.floats(1e-6, 1.0),
    st.none() | st.floats(0.01, 10),
    _weights,
    st.sampled_from(list_tasks()),
)
def test_round_trip_and_hash_of_resolved_configurations(seed, rate, clip, weights, task):
    overrides = [f"seed={seed}", f"ppo.learning_rate={rate!r}", f"ppo.value_clip={'null' if clip is None else clip}"]
    overrides += [f"task.rewards.{name}.weight={value!r}" for name, value in weights.items()]
    config = compose(task, "a1", overrides)
    text = dump_yaml(config)
    again = compose(yaml.safe_load(text))
    assert again == config
    assert dump_yaml(again) == text
    assert config_hash(again) == config_hash(config)
    assert config_hash(dataclasses.replace(config, seed=seed + 1)) != config_hash(config)


_leaves = st.none() | st.integers() | st.lists(st.integers(), max_size=2)


@given(st.dictionaries(st.sampled_from("abc"), _leaves), st.dictionaries(st.sampled_from("abcd"), _leaves))
def test_overlay_of_a_table(base, override):
    result = overlay(dict[str, int], base, override)
    expected = {**base, **override}
    for key in [key for key, value in override.items() if value is None]:
        del expected[key]
    assert result == expected


def test_overlay_of_a_dataclass_keeps_null():
    data = to_dict(compose("a1_velocity_flat"))
    result = overlay(ExperimentConfig, data, {"ppo": {"value_clip": None}, "task": {"rewards": {"orientation": None}}})
    assert result["ppo"]["value_clip"] is None
    assert "orientation" not in result["task"]["rewards"]
    assert "orientation" in data["task"]["rewards"], "the base must not change"


def test_a_robot_without_mirror_symmetry_trains_without_mirrored_data(monkeypatch):
    from types import SimpleNamespace

    from robolearn import experiment

    symmetric = compose("velocity_flat", robot="go2")
    monkeypatch.setattr(experiment, "load_robot", lambda name: SimpleNamespace(mirror=None))
    assert compose("velocity_flat", robot="go2").ppo == dataclasses.replace(symmetric.ppo, symmetry="none")
    assert compose("velocity_flat", "go2", ["ppo.symmetry=loss"]).ppo.symmetry == "loss", "an explicit wish holds"


def test_experiments_of_a_method_have_a_folder():
    assert "eco/a1_power" in list_experiments()
    config = compose("eco/a1_power")
    assert config.name == "eco_a1_power"
    assert config.eco is not None and config.eco.constraints["power"].budget == 60.0
    assert "joint_power" not in config.task.rewards


def test_budgets_are_entries_like_all_others():
    config = compose("eco/a1_power", overrides=["eco.constraints.power.budget=80", "eco.constraints.mirror=null"])
    assert config.eco is not None
    assert list(config.eco.constraints) == ["power"]
    assert config.eco.constraints["power"].budget == 80.0


def test_a_bound_on_the_mirror_error_needs_it_computed():
    with pytest.raises(ConfigError, match="a constraint on the mirror error"):
        compose("eco/a1_power", overrides=["ppo.symmetry=augment"])


def test_constraints_become_streams_of_the_runner():
    config = compose("eco/a1_power", overrides=["env.num_envs=2", "env.threads=1", "runner.steps_per_env=8"])
    env = make_env(config)
    runner = make_runner(config, env)
    assert runner.policy.num_costs == 1
    assert runner.storage.rewards.shape[-1] == 2
    metrics = {}
    runner.learn(1, metrics.update)
    assert {"eco/power/multiplier", "eco/mirror/share"} <= metrics.keys()
    env.close()


def test_a_price_keeps_the_clip_of_the_task():
    """BRUCE's rewards are never below 0; 1000 per joule would take all of them there."""
    changes = ["eco.algorithm=shaped", "eco.constraints.energy.weight=1e3", "env.num_envs=2", "env.threads=1"]
    config = compose("eco/bruce_lite", overrides=[*changes, "runner.steps_per_env=4"])
    env = make_env(config)
    runner = make_runner(config, env)
    runner.collect()
    assert (runner.storage.rewards[..., 0] == 0.0).any() and (runner.storage.rewards[..., 0] >= 0.0).all()
    env.close()


@pytest.mark.parametrize("name", [name for name in list_experiments() if name.startswith("eco/")])
def test_who_bounds_power_is_told_the_heat_as_well(name):
    """A loaded joint that stands has no mechanical power: a bound on power alone can be met by hot motors."""
    costs = compose(name).task.costs
    assert {"mechanical_power", "torque_square"} <= set(costs)


def test_a_constraint_on_a_cost_that_the_task_does_not_report_is_refused():
    config = compose("eco/a1_power", overrides=["eco.constraints.power.cost=mechanical_powr"])
    with pytest.raises(ConfigError, match="Did you mean 'mechanical_power'"):
        make_runner(config, make_env(config, num_envs=1))
