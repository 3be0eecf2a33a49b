from types import SimpleNamespace

import pytest
import torch

from robolearn.config import ConfigError, parse
from sim.commands import VelocityCommand, VelocityCommandConfig

PLAIN = {"standing": 0.0, "deadband": 0.0, "heading_gain": 0.0}


def commands(n=2000, seed=0, step_dt=0.02, **entries):
    state = SimpleNamespace(
        num_envs=n, device="cpu", step_dt=step_dt, command=torch.zeros(n, 3), heading=torch.zeros(n)
    )
    config = parse(VelocityCommandConfig, PLAIN | entries)
    return VelocityCommand(config, state, torch.Generator().manual_seed(seed)), state


def everyone(n=2000):
    return torch.arange(n)


def test_commands_fill_their_ranges():
    command, state = commands(vx=[-1.0, 2.0], vy=[-0.5, 0.5], yaw_rate=[1.0, 3.0])
    command.sample(everyone())
    low, high = torch.tensor([-1.0, -0.5, 1.0]), torch.tensor([2.0, 0.5, 3.0])
    assert (state.command >= low).all()
    assert (state.command <= high).all()
    assert torch.allclose(state.command.amin(0), low, atol=0.02)
    assert torch.allclose(state.command.amax(0), high, atol=0.02)
    assert torch.allclose(state.command.mean(0), (low + high) / 2, atol=0.06)


def test_only_the_given_environments_are_drawn():
    command, state = commands(5)
    command.sample(torch.tensor([1, 3]))
    assert (state.command.abs().sum(1) > 0).tolist() == [False, True, False, True, False]


def test_slow_commands_become_zero_and_their_yaw_rate_stays():
    command, state = commands(deadband=0.5)
    command.sample(everyone())
    speed = state.command[:, :2].norm(dim=1)
    assert ((speed == 0) | (speed >= 0.5)).all()
    share = (speed == 0).float().mean()
    assert share == pytest.approx(torch.pi * 0.25 / 4, abs=0.04)  # disc of radius 0.5 in a square of side 2
    assert (state.command[speed == 0, 2] != 0).all()


def test_standing_share():
    command, state = commands(4000, standing=0.3, heading_gain=1.0)
    state.heading[:] = 1.0
    command.sample(everyone(4000))
    command.follow_heading()
    still = (state.command == 0).all(1)
    assert still.float().mean() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(still, command._standing)  # they do not turn to any heading either


def test_heading_is_followed_with_the_right_sign_and_limit():
    command, state = commands(3, heading_gain=0.5, yaw_rate=[-0.8, 0.8])
    command.sample(everyone(3))
    command._heading[:] = torch.tensor([0.4, 3.0, -3.0])
    state.heading[:] = torch.tensor([0.0, 0.0, 3.0])
    command.follow_heading()
    # 0.5 * 0.4; limited; from 3 to -3 the short way is +0.283
    assert state.command[:, 2].tolist() == pytest.approx([0.2, 0.8, 0.5 * (2 * torch.pi - 6)], abs=1e-5)
    state.heading[:] = command._heading
    command.follow_heading()
    assert state.command[:, 2].abs().max() < 1e-6


def test_commands_change_after_the_resampling_period_and_not_before():
    command, state = commands(50, resample_s=[0.1, 0.1])  # 5 steps
    command.sample(everyone(50))
    first = state.command.clone()
    changed = []
    for _ in range(10):
        command.update()
        changed.append(not torch.equal(state.command, first))
        first = state.command.clone()
    assert changed == [False] * 4 + [True] + [False] * 4 + [True]


def test_the_time_between_draws_is_drawn_too():
    command, state = commands(4000, resample_s=[0.04, 0.1])  # 2 to 5 steps
    command.sample(everyone(4000))
    seen = torch.zeros(4000, dtype=torch.int64)
    first = state.command.clone()
    for k in range(1, 6):
        command.update()
        moved = (state.command != first).any(1) & (seen == 0)
        seen[moved] = k
    assert seen.bincount(minlength=6)[2:].tolist() == pytest.approx([1000] * 4, abs=100)
    assert seen.amin() == 2


def test_periods_count_from_each_environment_s_own_draw():
    command, state = commands(2, resample_s=[0.1, 0.1])
    command.sample(everyone(2))
    command.update()
    command.update()
    command.sample(torch.tensor([1]))  # its episode began anew
    times = {0: [], 1: []}
    before = state.command.clone()
    for k in range(1, 6):
        command.update()
        for i in (0, 1):
            if not torch.equal(before[i], state.command[i]):
                times[i].append(k)
        before = state.command.clone()
    assert times == {0: [3], 1: [5]}


def test_fixed_commands_hold_until_released():
    command, state = commands(3, heading_gain=1.0, resample_s=[0.02, 0.02])
    wish = torch.tensor([0.5, 0.0, -0.2])
    command.fix(wish)
    wish[0] = 9.0  # the caller's tensor stays the caller's
    for _ in range(3):
        command.update()
        assert torch.equal(state.command, torch.tensor([[0.5, 0.0, -0.2]]).expand(3, 3))
    command.fix(torch.arange(9.0).view(3, 3))
    command.sample(torch.tensor([2]))
    assert torch.equal(state.command, torch.arange(9.0).view(3, 3))
    command.fix(None)
    command.update()
    assert (state.command[:, :2].abs() <= 1).all()


def test_state_continues_exactly():
    first, state = commands(20, resample_s=[0.04, 0.1], heading_gain=0.5, standing=0.2)
    first.sample(everyone(20))
    first.update()
    saved = {name: value.clone() for name, value in first.state_dict().items()}
    second, other = commands(20, resample_s=[0.04, 0.1], heading_gain=0.5, standing=0.2)
    second.load_state_dict(saved)
    other.command[:] = state.command
    second._generator.set_state(first._generator.get_state())
    for _ in range(12):
        first.update()
        second.update()
        assert torch.equal(state.command, other.command)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"vx": [1.0, -1.0]}, "vx must be an ordered pair"),
        ({"resample_s": [0.0, 1.0]}, "resample_s must be an ordered pair above 0"),
        ({"resample_s": [2.0, 1.0]}, "resample_s must be an ordered pair above 0"),
        ({"standing": 1.5}, "between 0 and 1"),
        ({"vx": 1.0}, "vx: expected a list"),
        ({"yawrate": [0, 1]}, "Did you mean 'yaw_rate'"),
    ],
)
def test_mistakes_are_named(entries, message):
    with pytest.raises(ConfigError, match=message):
        parse(VelocityCommandConfig, entries)
