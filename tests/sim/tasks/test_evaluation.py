"""Weights, columns and logs of a task's terms."""

import dataclasses
from math import exp

import pytest
import torch

from robolearn.config import ConfigError
from sim.tasks import load_task
from sim.tasks.evaluation import TermEvaluator


def task(**entries):
    return dataclasses.replace(load_task("velocity_flat"), **{"randomization": {}} | entries)


def test_rewards_are_weighted_per_second_and_summed(state):
    terms = TermEvaluator(
        task(
            rewards={"track_linear_velocity": {"weight": 2.0}, "base_height": {"weight": -1, "target": 0.5}},
            costs={"velocity_error": {}, "mechanical_power": {}},
            terminations={"forbidden_contact": {}, "too_low": {"height": 0.3}},
        )
    )
    reward, costs, terminated, log = terms(state)
    expected = [0.02 * (2 * exp(-1) - 0.01), 0.02 * (2 * exp(-1) - 0.0625)]
    assert reward.tolist() == pytest.approx(expected, rel=1e-5)
    assert terms.cost_names == ("velocity_error", "mechanical_power")
    assert torch.allclose(costs, torch.tensor([[0.5, 55.0], [0.5, 7.0]]))
    assert terminated.tolist() == [True, True]
    assert {name: float(value) for name, value in log.items()} == pytest.approx(
        {"term/track_linear_velocity": exp(-1), "term/base_height": (0.01 + 0.0625) / 2}
    )


def test_a_negative_sum_may_be_clipped_and_is_counted(state):
    rewards = {"alive": {"weight": 5.0}, "foot_slip": {"weight": -1.0}}  # slips of 13.05 and 2
    reward, _, _, log = TermEvaluator(task(rewards=rewards, clip_reward=True))(state)
    assert reward.tolist() == pytest.approx([0.0, 0.02 * 3.0])
    assert float(log["reward/clipped_share"]) == 0.5
    reward, _, _, log = TermEvaluator(task(rewards=rewards))(state)
    assert reward.tolist() == pytest.approx([-0.02 * 8.05, 0.02 * 3.0], rel=1e-4)
    assert "reward/clipped_share" not in log


def test_a_task_may_have_neither_costs_nor_terminations(state):
    _, costs, terminated, _ = TermEvaluator(task(costs={}, terminations={}))(state)
    assert costs.shape == (2, 0)
    assert terminated.tolist() == [False, False]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"rewards": {"alive": {}}}, r"task\.rewards\.alive\.weight: required entry is missing"),
        ({"rewards": {"alive": {"weight": "much"}}}, r"task\.rewards\.alive\.weight: expected a number"),
        ({"rewards": {"alive": {"weight": float("nan")}}}, r"alive\.weight: must be a finite number"),
        ({"rewards": {}}, "needs at least one reward"),
        ({"rewards": {"alife": {"weight": 1.0}}}, r"task\.rewards: unknown reward 'alife'\. Did you mean 'alive'"),
        (
            {"rewards": {"base_height": {"weight": 1.0, "taget": 0.3}}},
            r"task\.rewards\.base_height: unknown key 'taget'\. Did you mean 'target'",
        ),
        ({"costs": {"mechanic_power": {}}}, r"unknown cost 'mechanic_power'\. Did you mean 'mechanical_power'"),
        ({"costs": {"velocity_error": {"weight": 1.0}}}, r"task\.costs\.velocity_error: unknown key 'weight'"),
        ({"terminations": {"too_low": {}}}, r"task\.terminations\.too_low\.height: required entry is missing"),
        ({"terminations": {"tild": {}}}, "unknown termination 'tild'. Did you mean 'tilt'"),
        ({"randomization": {"frictoin": {}}}, "unknown randomization 'frictoin'. Did you mean 'friction'"),
        ({"randomization": {"friction": {"range": 0.5}}}, r"task\.randomization\.friction\.range: expected a list"),
        ({"randomization": {"friction": {"range": [0.1]}}}, r"friction\.range: expected 2 values, got 1"),
        ({"randomization": {"gains": {"k": [1, 1]}}}, r"task\.randomization\.gains: unknown key 'k'"),
    ],
)
def test_mistakes_are_named(entries, message):
    with pytest.raises(ConfigError, match=message):
        TermEvaluator(task(**entries))


def test_model_fields_are_those_of_the_randomisations_in_use():
    fields = TermEvaluator(task(randomization={"payload": {"range": [0, 1]}, "gains": {}})).model_fields
    assert fields == ("body_mass", "body_inertia")
