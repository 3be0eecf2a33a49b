"""The mirrored robot with mirrored actions does the mirrored thing."""

import dataclasses

import pytest
import torch

from sim.robots import load_robot

MIRROR = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)


@pytest.fixture
def symmetric(a1):
    """The A1 with its trunk's centre of mass moved into the middle plane."""
    trunk = a1.source.trunk
    trunk = dataclasses.replace(trunk, com=(trunk.com[0], 0.0, trunk.com[2]))
    return dataclasses.replace(a1, source=dataclasses.replace(a1.source, trunk=trunk))


def check(env):
    """Robot 0 starts in a random state, robot 1 in its mirror image; return whether a foot touched in five steps."""
    symmetry, mirror, joints = env.symmetries[0], env.robot.mirror, env.num_actions
    env.commands.fix(torch.tensor([[0.5, 0.3, -0.4], [0.5, -0.3, 0.4]]))
    env.disturbances.external[0] = torch.tensor([5.0, 8.0, -3.0])
    env.disturbances.external[1] = torch.tensor([5.0, -8.0, -3.0])
    qpos, qvel = env.engine.field("qpos"), env.engine.field("qvel")
    generator = torch.Generator().manual_seed(0)

    def noise(size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    qpos[0, :3] += 0.05 * noise(3)
    quat = torch.nn.functional.normalize(qpos[0, 3:7] + 0.1 * noise(4), dim=0)
    qpos[0, 3:7], qpos[0, 7:] = quat, qpos[0, 7:] + 0.1 * noise(joints)
    qvel[0] = 0.5 * noise(6 + joints)
    index = [joint.index for joint in mirror]
    sign = torch.tensor([joint.sign for joint in mirror], dtype=torch.float64)
    qpos[1, :3], qpos[1, 3:7] = qpos[0, :3] * MIRROR, quat * torch.tensor([1, -1, 1, -1])
    qpos[1, 7:] = qpos[0, 7:][index] * sign
    qvel[1, :3], qvel[1, 3:6] = qvel[0, :3] * MIRROR, qvel[0, 3:6] * -MIRROR
    qvel[1, 6:] = qvel[0, 6:][index] * sign
    env.engine.forward()
    env.state.refresh(torch.arange(2))
    env.state.set_phase(torch.tensor([0.1, 0.6]))  # the other leg's turn
    env.sensing.reset(torch.arange(2))  # forget frames from before
    touched = False
    for seed in range(5):
        action = torch.randn(joints, generator=torch.Generator().manual_seed(seed))
        result = env.step(torch.stack((action, symmetry.action(action))))
        touched |= bool(env.state.foot_contact.any())
        assert not len(result.final_ids)
        for name, obs in result.obs.items():
            assert torch.allclose(symmetry.obs[name](obs[0]), obs[1], atol=2e-4, rtol=1e-4), name
        assert float(result.reward[0]) == pytest.approx(float(result.reward[1]), abs=1e-6)
        assert torch.allclose(result.costs[0], result.costs[1], rtol=1e-4)
        assert torch.allclose(qpos[0, :3] * MIRROR, qpos[1, :3], atol=1e-6)
        assert torch.allclose(qpos[0, 7:][index] * sign, qpos[1, 7:], atol=1e-5)
    return touched


@pytest.mark.parametrize("height", [0.02, -0.01])
def test_physics_rewards_and_observations_are_equivariant(make_env, symmetric, height):
    start = {"initial_base": {"height": [height, height]}}
    changes = {"randomization": start, "observations": {"policy": {"history": 2}}}
    touched = check(make_env(changes, robot=symmetric))
    assert touched or height > 0


@pytest.mark.parametrize("height", [0.04, 0.0])
def test_a_biped_by_its_gait_too(make_env, quiet, height):
    start = {"randomization": {"initial_base": {"height": [height, height]}}}
    touched = check(make_env(quiet(start, "bruce_walk"), robot=load_robot("bruce")))
    assert touched or height > 0
