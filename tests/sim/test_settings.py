"""What the operator sets: drawn per episode, held when it is given, seen by the policy."""

import pytest
import torch

from robolearn.config import ConfigError, parse
from sim.settings import SettingConfig, Settings
from sim.tasks import load_task

BUDGET = {"range": [0.5, 1.0], "default": 0.9, "unit": "1", "meaning": "share of the unconstrained energy"}
WITH_BUDGET = {
    "settings": {"budget": BUDGET},
    "observations": {"policy": {"terms": {"budget": {"scale": 2.0}}}},
}


@pytest.fixture
def settings():
    config = {"budget": parse(SettingConfig, BUDGET)}
    return Settings(config, 4000, "cpu", torch.Generator().manual_seed(0))


def test_settings_start_at_their_default_and_are_drawn_uniformly_where_an_episode_begins(settings):
    value = settings.values["budget"]
    assert value.shape == (4000, 1)
    assert (value == torch.tensor(0.9)).all()
    settings.sample(torch.arange(2000, 4000))
    assert (value[:2000] == torch.tensor(0.9)).all()
    drawn = value[2000:]
    assert drawn.amin().item() == pytest.approx(0.5, abs=2e-3)
    assert drawn.amax().item() == pytest.approx(1.0, abs=2e-3)
    assert drawn.mean().item() == pytest.approx(0.75, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.5 / 12**0.5, rel=0.03)  # of a uniform distribution


def test_a_held_value_stays_over_episodes_until_it_is_released(settings):
    wish = torch.linspace(0.5, 1.0, 4000)
    settings.fix({"budget": wish})
    kept = wish.clone().unsqueeze(1)
    wish[0] = 0.6  # the caller's tensor stays the caller's
    settings.sample(torch.arange(100))
    assert torch.equal(settings.values["budget"], kept)
    settings.fix({"budget": 0.7})
    assert (settings.values["budget"] == torch.tensor(0.7)).all()
    settings.fix(None)
    settings.sample(torch.arange(100))
    assert len(settings.values["budget"][:100].unique()) == 100


def test_defaults_complete_what_is_given(settings):
    assert settings.complete({}) == {"budget": 0.9}
    assert settings.complete({"budget": 0.6}) == {"budget": 0.6}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"budget": 0.4}, r"'budget': must be from 0.5 to 1, got 0.4"),
        ({"budget": torch.tensor([0.6, 1.2]).repeat(2000)}, r"must be from 0.5 to 1, got 0.6 to 1.2"),
        ({"budget": float("nan")}, "got nan"),
        ({"buget": 0.7}, "Did you mean 'budget'"),
    ],
)
def test_values_that_training_never_saw_are_refused(settings, values, message):
    with pytest.raises(ConfigError, match=message):
        settings.fix(values)
    assert (settings.values["budget"] == torch.tensor(0.9)).all()


def test_the_policy_sees_the_setting_of_its_episode(make_env):
    env = make_env({**WITH_BUDGET, "episode_s": 0.1}, num_envs=64)
    (column,) = range(*env.pipeline.group("policy").slices["budget"].indices(1000))
    first = env.settings.values["budget"].clone()
    assert len(first.unique()) == 64
    for step in range(1, 6):
        result = env.step(torch.zeros(64, 12))
        shown = result.final_obs if step == 5 else result.obs
        assert torch.equal(shown["policy"][:, column], 2.0 * first[:, 0])  # also the last one of the episode
    second = env.state.settings["budget"]
    assert torch.equal(result.obs["policy"][:, column], 2.0 * second[:, 0])
    assert not (second == first).any()


def test_a_task_without_settings_draws_what_it_drew_before(make_env):
    with_one = {"settings": {"budget": BUDGET}}  # nothing else may change before its first draw
    one, other = (make_env(changes, num_envs=8, command=None) for changes in (None, with_one))
    assert torch.equal(one.state.command, other.state.command)
    assert one.settings.values == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"buget": BUDGET}}, "task.settings: unknown setting 'buget'. Did you mean 'budget'"),
        ({"settings": {"command": BUDGET}}, "unknown setting 'command'"),
        ({"settings": {"budget": {**BUDGET, "range": [1.0, 1.0]}}}, "range must be an ordered pair"),
        ({"settings": {"budget": {**BUDGET, "default": 0.4}}}, r"default must be within \[0.5, 1.0\], got 0.4"),
        ({"settings": {"budget": {**BUDGET, "meaning": ""}}}, "meaning must say"),
    ],
)
def test_mistakes_in_a_task_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        load_task("velocity_flat", changes)


def test_a_term_without_its_setting_is_refused(make_env):
    with pytest.raises(ConfigError, match=r"policy\.terms\.budget: this robot or task has no such signal"):
        make_env({"observations": WITH_BUDGET["observations"]})


def test_a_state_with_other_settings_is_refused(make_env):
    with_budget, without = make_env(WITH_BUDGET), make_env()
    with pytest.raises(ValueError, match=r"settings: the state has \[\], the task \['budget'\]"):
        with_budget.settings.load_state_dict(without.settings.state_dict())
