"""What only the Warp engine has: graphs, buffers that can overflow, devices and versions. Runs on Warp's CPU device."""

import logging

import mujoco
import numpy as np
import pytest
import torch

from robolearn.config import ConfigError
from sim.engines import mujoco_warp
from sim.engines.mujoco_warp import MujocoWarpEngine, check_versions

ENVS = 4
CUDA = torch.cuda.is_available()
needs_cuda = pytest.mark.skipif(not CUDA, reason="torch sees no CUDA device")


def start(quadruped, device="cpu", **options):
    engine = MujocoWarpEngine(quadruped.model, ENVS, device, **options)
    quadruped.load(engine, quadruped.random_states(ENVS, seed=11, in_contact=True))
    return engine


def test_recorded_graphs_do_what_direct_calls_do(quadruped):
    recorded, direct = (start(quadruped, expand=("body_mass",), capture=capture) for capture in (True, False))
    for engine in (recorded, direct):
        engine.field("sensordata")
        for cycle in range(4):
            engine.step(2)
            engine.expand("body_mass")[:, 1] += 0.1 * cycle
            engine.set_const()
            engine.step()
            engine.forward()
    assert sorted(recorded._graphs) == ["forward", "set_const", "step(1)", "step(2)"] and not direct._graphs
    assert recorded.diagnostics() == direct.diagnostics()
    for name in ("qpos", "qvel", "qacc", "sensordata"):
        assert torch.equal(recorded.field(name), direct.field(name)), name


def test_a_lost_graph_warns_once_with_the_reason_and_the_engine_goes_on(quadruped, monkeypatch, caplog):
    engine, direct = start(quadruped), start(quadruped, capture=False)

    class Refusing:
        def __init__(self, *_args, **_kwargs):
            raise RuntimeError("memory pools are off")

    monkeypatch.setattr(mujoco_warp.wp, "ScopedCapture", Refusing)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            engine.step()
            direct.step()
    assert [record.getMessage().count("step(1)") for record in caplog.records] == [1]
    assert "memory pools are off" in caplog.text
    assert engine.diagnostics()["graph_lost"] == 1
    assert torch.equal(engine.field("qpos"), direct.field("qpos"))


@pytest.mark.parametrize(("options", "kind"), [({"nconmax": 1}, "NARROWPHASE|BROADPHASE"), ({"njmax": 4}, "NEFC")])
def test_overflow_is_counted_and_logged_once_per_look(quadruped, caplog, options, kind):
    engine = start(quadruped, **options)
    for _ in range(3):
        engine.step()
    with caplog.at_level(logging.WARNING):
        assert engine.diagnostics()["overflow"] == 3 * ENVS
        assert engine.diagnostics()["overflow"] == 3 * ENVS
    assert len(caplog.records) == 1
    assert any(name in caplog.text for name in kind.split("|")) and "raise nconmax" in caplog.text
    engine.reset()
    engine.field("qpos")[:, 2] = 5
    engine.step()
    after = engine.diagnostics()["overflow"]
    assert after == 3 * ENVS + (ENVS if "njmax" in options else 0)  # in the air only the 12 dry-friction rows remain


def test_buffers_of_the_usual_size_do_not_overflow(quadruped):
    engine = start(quadruped)
    engine.step(20)
    assert engine.diagnostics() == {"nonfinite": 0, "overflow": 0, "unconverged": 0, "graph_lost": 0}


def test_a_solver_that_runs_out_of_iterations_is_counted_apart(quadruped):
    model = mujoco.MjModel.from_xml_string(quadruped.xml)
    model.opt.iterations = 1
    engine = MujocoWarpEngine(model, ENVS, "cpu")
    quadruped.load(engine, quadruped.random_states(ENVS, seed=11, in_contact=True))
    engine.step()
    found = engine.diagnostics()
    assert 0 < found["unconverged"] <= ENVS and found["overflow"] == 0


def test_constants_derived_from_masses_are_mujoco_s(quadruped):
    engine = start(quadruped, expand=("body_mass", "body_inertia", "dof_armature"))
    engine.expand("body_mass")[1, 1] *= 2
    engine.expand("body_inertia")[1, 1] *= 2
    engine.expand("dof_armature")[2] *= 3
    engine.set_const()
    for index in range(3):
        own = mujoco.MjModel.from_xml_string(quadruped.xml)
        for name in ("body_mass", "body_inertia", "dof_armature"):
            getattr(own, name)[:] = engine.expand(name)[index].numpy()
        mujoco.mj_setConst(own, mujoco.MjData(own))
        for name in ("body_subtreemass", "body_invweight0", "dof_invweight0", "actuator_acc0"):
            np.testing.assert_allclose(engine._expanded[name][index].numpy(), getattr(own, name), rtol=2e-5, atol=1e-6)


def test_a_field_that_was_not_declared_says_how_to_declare_it(quadruped):
    engine = start(quadruped, expand=("body_mass",))
    with pytest.raises(KeyError, match=r"name it in the engine's expand="):
        engine.expand("geom_friction")
    with pytest.raises(KeyError, match=r"name it in the engine's expand="):
        engine.expand("body_subtreemass")  # per environment only because set_const writes it
    with pytest.raises(KeyError, match="Did you mean 'geom_friction'"):
        engine.expand("geom_frictions")


def test_expanded_start_positions_are_what_reset_goes_back_to(quadruped):
    engine = start(quadruped, expand=("qpos0",))
    engine.expand("qpos0")[2, 0] = 7
    engine.reset(torch.tensor([1, 2]))
    assert engine.field("qpos")[[1, 2], 0].tolist() == [0, 7]


def test_models_that_warp_cannot_run_are_refused_with_the_reason():
    xml = "<mujoco><option {}><flag {}/></option><worldbody><geom type='sphere' size='1'/></worldbody></mujoco>"
    with pytest.raises(ConfigError, match="sleep"):
        MujocoWarpEngine(mujoco.MjModel.from_xml_string(xml.format("", "sleep='enable'")), 1, "cpu")
    with pytest.raises(ConfigError, match="PGS"):
        MujocoWarpEngine(mujoco.MjModel.from_xml_string(xml.format("solver='PGS'", "")), 1, "cpu")


def test_mujoco_and_warp_must_be_of_one_minor_version():
    check_versions("3.17.0", "3.17.4")
    with pytest.raises(ConfigError, match=r"mujoco 3\.18\.1 and mujoco-warp 3\.17\.0 .*mujoco-warp==3\.18\.\*"):
        check_versions("3.18.1", "3.17.0")


@pytest.mark.skipif(CUDA, reason="this machine has a CUDA device")
def test_a_missing_gpu_is_named():
    with pytest.raises(ConfigError, match=r"no CUDA device for 'cuda:0'.*use engine 'mujoco'"):
        mujoco_warp._find_device("cuda:0")


@pytest.mark.gpu
@needs_cuda
def test_the_gpu_does_what_the_cpu_device_does(quadruped):
    gpu, cpu = start(quadruped, "cuda", expand=("body_mass",)), start(quadruped, expand=("body_mass",))
    for engine in (gpu, cpu):
        engine.expand("body_mass")[1, 1] *= 2
        for _ in range(3):
            engine.set_const()
            engine.step(4)
            engine.reset(torch.tensor([3], device=engine.device))
            engine.forward(torch.tensor([3], device=engine.device))
    assert gpu.diagnostics()["graph_lost"] == 0
    for name in ("qpos", "qvel"):
        torch.testing.assert_close(gpu.field(name).cpu(), cpu.field(name), rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@needs_cuda
def test_torch_and_warp_kernels_run_in_program_order_on_any_stream(quadruped):
    """Writes by torch on a stream of its own must reach the step, and its results must be there for torch to read."""
    plain, streamed = start(quadruped, "cuda"), start(quadruped, "cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    for engine, context in ((plain, torch.cuda.stream(None)), (streamed, torch.cuda.stream(stream))):
        with context:
            for step in range(20):
                big = torch.randn(2000, 2000, device="cuda") @ torch.randn(2000, 2000, device="cuda")
                engine.field("ctrl").copy_((0 * big[:ENVS, :12]) + step)
                engine.step()
    torch.cuda.synchronize()
    torch.testing.assert_close(plain.field("qpos"), streamed.field("qpos"), rtol=1e-4, atol=1e-4)
