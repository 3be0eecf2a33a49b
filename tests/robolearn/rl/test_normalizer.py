import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.rl.normalizer import Normalizer


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5), seed=st.integers(0, 10**6))
def test_batches_merge_to_the_statistics_of_all_samples(sizes, seed):
    random = np.random.default_rng(seed)
    scale, mean = np.array([1e-3, 1.0, 50.0]), np.array([0.0, 1000.0, -3.0])
    batches = [random.normal(size=(size, 3)) * scale + mean for size in sizes]
    normalizer = Normalizer(3)
    for batch in batches:
        normalizer.update(torch.tensor(batch, dtype=torch.float32))
    everything = np.concatenate(batches).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(normalizer.count, len(everything))
    np.testing.assert_allclose(normalizer.mean, everything.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(normalizer.var, everything.var(0), rtol=1e-4, atol=1e-9)


def test_output_is_centred_scaled_and_clipped():
    normalizer = Normalizer(2, clip=3.0, eps=0.01)
    normalizer.update(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    # Mean (2, 5), variance (1, 0); the constant entry is divided by eps = 0.01 only.
    expected = torch.tensor([[1.0 / np.sqrt(1.0001), 0.1 / 0.01 * 0.0], [3.0, 1.0]], dtype=torch.float32)
    torch.testing.assert_close(normalizer(torch.tensor([[3.0, 5.0], [99.0, 5.01]])), expected, rtol=1e-4, atol=1e-4)


def test_identity_before_the_first_sample():
    x = torch.randn(7, 3)
    assert torch.equal(Normalizer(3)(x), x)


def test_frozen_statistics_do_not_move():
    normalizer = Normalizer(2)
    normalizer.update(torch.randn(10, 2))
    before = {name: value.clone() for name, value in normalizer.state_dict().items()}
    normalizer.freeze()
    normalizer.update(torch.randn(10, 2) + 5)
    assert all(torch.equal(before[name], value) for name, value in normalizer.state_dict().items())
    normalizer.freeze(False)
    normalizer.update(torch.randn(10, 2) + 5)
    assert float(normalizer.count) == 20


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_number_does_not_spoil_the_statistics(bad):
    normalizer = Normalizer(2)
    normalizer.update(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    normalizer.update(torch.tensor([[1.0, bad]]))
    assert normalizer.mean.tolist() == [2.0, 3.0]
    assert float(normalizer.count) == 2
