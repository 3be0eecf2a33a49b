import pytest

from robolearn.config import ConfigError, parse
from robolearn.rl import NetworkConfig, PPOConfig, RunnerConfig


@pytest.mark.parametrize(
    ("cls", "values", "field"),
    [
        (PPOConfig, {"gamma": 1.5}, "gamma"),
        (PPOConfig, {"lam": -0.1}, "lam"),
        (PPOConfig, {"cost_gamma": 2.0}, "cost_gamma"),
        (PPOConfig, {"clip": 0.0}, "clip"),
        (PPOConfig, {"value_clip": -1.0}, "value_clip"),
        (PPOConfig, {"epochs": 0}, "epochs"),
        (PPOConfig, {"learning_rate": float("nan")}, "learning_rate"),
        (PPOConfig, {"lr_min": 1e-2, "lr_max": 1e-3}, "lr_max"),
        (PPOConfig, {"schedule": "cosine"}, "schedule"),
        (PPOConfig, {"symmetry": "yes"}, "symmetry"),
        (NetworkConfig, {"actor_hidden": (64, 0)}, "actor_hidden"),
        (NetworkConfig, {"init_std": 20.0}, "init_std"),
        (NetworkConfig, {"activation": "gelu"}, "activation"),
        (NetworkConfig, {"rnn": "lstm"}, "rnn"),
        (RunnerConfig, {"steps_per_env": 0}, "steps_per_env"),
        (RunnerConfig, {"max_invalid_share": 1.1}, "max_invalid_share"),
        (RunnerConfig, {"max_seconds": 0.0}, "max_seconds"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(cls, values, field):
    with pytest.raises(ValueError, match=rf"^{field}: "):
        cls(**values)


def test_a_mapping_is_read_and_its_errors_name_the_entry():
    config = parse(PPOConfig, {"gamma": "0.5", "value_clip": None, "cost_lam": 0.9}, "ppo")
    assert (config.gamma, config.value_clip, config.cost_lam) == (0.5, None, 0.9)
    with pytest.raises(ConfigError, match="Did you mean 'gamma'"):
        parse(PPOConfig, {"gama": 0.5}, "ppo")
    with pytest.raises(ConfigError, match=r"ppo: gamma: must be between 0 and 1, got 3"):
        parse(PPOConfig, {"gamma": 3.0}, "ppo")


def test_every_field_is_documented():
    for cls in (NetworkConfig, PPOConfig, RunnerConfig):
        for name in cls.__dataclass_fields__:
            assert f"        {name}: " in cls.__doc__, f"{cls.__name__}.{name}"
