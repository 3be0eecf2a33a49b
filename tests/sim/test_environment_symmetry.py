"""The mirrored robot with mirrored actions does the mirrored thing."""

import dataclasses

import pytest
import torch

MIRROR = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)


@pytest.fixture
def symmetric(a1):
    """The A1 with its trunk's centre of mass moved into the middle plane."""
    trunk = a1.source.trunk
    trunk = dataclasses.replace(trunk, com=(trunk.com[0], 0.0, trunk.com[2]))
    return dataclasses.replace(a1, source=dataclasses.replace(a1.source, trunk=trunk))


@pytest.mark.parametrize("height", [0.02, -0.01])
def test_physics_rewards_and_observations_are_equivariant(make_env, symmetric, height):
    start = {"initial_base": {"height": [height, height]}}
    changes = {"randomization": start, "observations": {"policy": {"history": 2}}}
    env = make_env(changes, robot=symmetric)
    symmetry = env.symmetries[0]
    env.commands.fix(torch.tensor([[0.5, 0.3, -0.4], [0.5, -0.3, 0.4]]))
    env.disturbances.external[0] = torch.tensor([5.0, 8.0, -3.0])
    env.disturbances.external[1] = torch.tensor([5.0, -8.0, -3.0])
    qpos, qvel = env.engine.field("qpos"), env.engine.field("qvel")
    generator = torch.Generator().manual_seed(0)

    def noise(size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    qpos[0, :3] += 0.05 * noise(3)
    quat = torch.nn.functional.normalize(qpos[0, 3:7] + 0.1 * noise(4), dim=0)
    qpos[0, 3:7], qpos[0, 7:] = quat, qpos[0, 7:] + 0.1 * noise(12)
    qvel[0] = 0.5 * noise(18)
    joints = [joint.index for joint in symmetric.mirror]
    sign = torch.tensor([joint.sign for joint in symmetric.mirror], dtype=torch.float64)
    qpos[1, :3], qpos[1, 3:7] = qpos[0, :3] * MIRROR, quat * torch.tensor([1, -1, 1, -1])
    qpos[1, 7:] = qpos[0, 7:][joints] * sign
    qvel[1, :3], qvel[1, 3:6] = qvel[0, :3] * MIRROR, qvel[0, 3:6] * -MIRROR
    qvel[1, 6:] = qvel[0, 6:][joints] * sign
    env.engine.forward()
    env.state.refresh(torch.arange(2))
    touched = False
    for seed in range(5):
        action = torch.randn(12, generator=torch.Generator().manual_seed(seed))
        result = env.step(torch.stack((action, symmetry.action(action))))
        touched |= bool(env.state.foot_contact.any())
        assert not len(result.final_ids)
        for name, obs in result.obs.items():
            assert torch.allclose(symmetry.obs[name](obs[0]), obs[1], atol=2e-4, rtol=1e-4), name
        assert float(result.reward[0]) == pytest.approx(float(result.reward[1]), abs=1e-6)
        assert torch.allclose(result.costs[0], result.costs[1], rtol=1e-4)
        assert torch.allclose(qpos[0, :3] * MIRROR, qpos[1, :3], atol=1e-6)
        assert torch.allclose(qpos[0, 7:][joints] * sign, qpos[1, 7:], atol=1e-5)
    assert touched or height > 0
