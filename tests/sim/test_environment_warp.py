"""The same task code on the Warp engine (its CPU device): one test, because compiling kernels takes a while."""

import pytest
import torch

pytest.importorskip("mujoco_warp")


def test_the_task_runs_on_warp_as_on_mujoco(make_env):
    start = {"initial_base": {"height": [0.01, 0.01], "linear_velocity": [0.2, 0.2]}}
    changes = {
        "randomization": start | {"payload": {"range": [1.0, 1.0]}, "friction": {"range": [0.6, 0.6]}},
        "observations": {"policy": {"history": 2}},
        "episode_s": 0.06,
    }
    host, warp = (make_env(changes, num_envs=2, engine=engine) for engine in ("mujoco", "warp"))
    assert warp.engine.dtype == torch.float32
    for k in range(3):
        action = 0.5 * torch.randn(2, 12, generator=torch.Generator().manual_seed(k))
        a, b = host.step(action), warp.step(action)
        assert torch.equal(a.final_ids, b.final_ids)
        assert len(b.final_ids) == (2 if k == 2 else 0)
        for one, two in ((a.final_obs, b.final_obs), (a.obs, b.obs)):
            for name in one:
                assert torch.allclose(one[name], two[name], atol=0.02, rtol=0.02), (k, name)
        assert torch.allclose(a.reward, b.reward, atol=2e-3)
        assert torch.allclose(a.costs, b.costs, rtol=0.02, atol=0.05)
        assert (host.state.joint_acceleration - warp.state.joint_acceleration).abs().max() < 2.0
        assert warp.state.joint_acceleration.abs().max() > (5.0 if k < 2 else -1.0)
    diagnostics = warp.engine.diagnostics()
    assert diagnostics["overflow"] == 0
    assert diagnostics["nonfinite"] == 0
    live = {warp.engine.field(name).data_ptr() for name in ("qpos", "qvel", "sensordata")}
    assert not live & {value.data_ptr() for value in warp.state.state_dict().values()}
