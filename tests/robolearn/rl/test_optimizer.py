import pytest
import torch
from torch import nn

from robolearn.rl.optimizer import FlatAdam


def networks():
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)) for _ in range(2)]


def backward(parts, seed, scale=1.0):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
    (scale * (parts[0](x).square().mean() + 100 * parts[1](x).pow(4).mean())).backward()


def test_equals_torch_adam_with_each_group_clipped():
    ours, theirs = networks(), networks()
    flat = FlatAdam([list(part.parameters()) for part in ours], lr=0.01)
    reference = torch.optim.Adam([p for part in theirs for p in part.parameters()], lr=0.01)
    for step in range(20):
        flat.zero_grad()
        backward(ours, step)
        norm = flat.step(max_norm=0.1)
        reference.zero_grad()
        backward(theirs, step)
        norms = [nn.utils.clip_grad_norm_(part.parameters(), 0.1) for part in theirs]
        reference.step()
        torch.testing.assert_close(norm, torch.stack(norms).norm(), rtol=1e-4, atol=0.0)
    for part, other in zip(ours, theirs, strict=True):
        for p, q in zip(part.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_gradient_changes_nothing_and_is_counted(bad):
    parts = networks()
    flat = FlatAdam([list(part.parameters()) for part in parts], lr=0.01)
    backward(parts, 0)
    flat.step(1.0)
    before = {name: value.clone() for name, value in (*flat.state_dict().items(), ("params", flat.params))}
    flat.zero_grad()
    backward(parts, 1)
    flat.grads[3] = bad
    flat.step(1.0)
    assert int(flat.skipped) == 1
    for name in ("params", "first", "second", "count", "lr"):
        assert torch.equal(before[name], getattr(flat, name)), name
    flat.zero_grad()
    backward(parts, 2)
    flat.step(1.0)
    assert int(flat.skipped) == 1
    assert torch.isfinite(flat.params).all()
    assert not torch.equal(before["params"], flat.params)


def test_parameters_stay_views_after_loading_weights():
    parts = networks()
    flat = FlatAdam([list(part.parameters()) for part in parts], lr=0.01)
    parts[0].load_state_dict({name: torch.full_like(value, 7.0) for name, value in parts[0].state_dict().items()})
    assert (flat.params[: flat.sizes[0]] == 7.0).all()


def test_state_of_another_size_is_refused():
    flat = FlatAdam([list(networks()[0].parameters())], lr=0.01)
    other = FlatAdam([list(part.parameters()) for part in networks()], lr=0.01)
    with pytest.raises(ValueError, match="'first' has shape"):
        flat.load_state_dict(other.state_dict())


def test_a_parameter_given_twice_is_refused():
    parameters = list(networks()[0].parameters())
    with pytest.raises(ValueError, match="in two groups"):
        FlatAdam([parameters, parameters[:1]], lr=0.01)
