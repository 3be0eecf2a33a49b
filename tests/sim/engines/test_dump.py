import json
import zipfile

import mujoco
import numpy as np
import pytest
import torch

from sim.engines import make_engine
from sim.engines.base import STATE_FIELDS
from sim.engines.dump import DumpError, Replay, StateRecorder, load_dump, replay_dump, write_dump

ENVS = 3


@pytest.fixture(params=["mujoco", "warp"])
def beads(request, beads_xml):
    """An engine in which environment 1 alone will diverge, because its bead is too light."""
    engine = make_engine(
        request.param, mujoco.MjModel.from_xml_string(beads_xml), ENVS, threads=1, expand=("body_mass", "body_inertia")
    )
    engine.field("qpos")[:, 1] = 1e-3
    engine.expand("body_mass")[1, 2] = 0.01
    engine.set_const()
    return engine


def run_until_astray(engine, recorder):
    for step in range(100):
        recorder.record()
        engine.step(recorder.substeps)
        if not engine.finite().all():
            return step
    raise AssertionError("it did not diverge")


def test_a_divergence_is_dumped_and_found_again_in_plain_mujoco(beads, tmp_path):
    recorder = StateRecorder(beads, length=4, substeps=2)
    last = run_until_astray(beads, recorder)
    bad = (~beads.finite()).nonzero().squeeze(1)
    assert bad.tolist() == [1] and last > 1
    path = write_dump(tmp_path / "deep" / "run.npz", beads, recorder, bad, reason="qvel beyond 1e6")
    dump = load_dump(path)
    kept = min(4, last + 1)
    assert dump.reason == "qvel beyond 1e6" and dump.engine == type(beads).__name__ and dump.substeps == 2
    assert dump.states["qpos"].shape == (kept, 1, 2) and dump.model_fields["body_mass"][0, 2] == pytest.approx(0.01)
    (replay,) = replay_dump(path)
    assert (replay.env, replay.record, replay.joint) == (1, kept - 1, "bead") and replay.substep in (1, 2)
    assert "environment 1" in str(replay) and "'bead'" in str(replay)
    assert [file.name for file in path.parent.iterdir()] == ["run.npz"]


def test_a_healthy_environment_replays_as_finite_and_a_bad_record_is_named(beads, tmp_path):
    recorder = StateRecorder(beads, length=3)
    recorder.record()
    beads.field("qvel")[2, 0] = torch.nan
    recorder.record()
    path = write_dump(tmp_path / "d.npz", beads, recorder, torch.tensor([0, 2]))
    assert replay_dump(path) == [Replay(0), Replay(2, record=1, substep=0, joint="quiet")]
    assert "stays finite" in str(replay_dump(path)[0]) and "record 1" in str(replay_dump(path)[1])


def test_the_records_are_the_last_ones_oldest_first(quadruped):
    engine = make_engine("mujoco", quadruped.model, ENVS, threads=1)
    quadruped.load(engine, quadruped.random_states(ENVS, seed=2, in_contact=True))
    recorder, expected = StateRecorder(engine, length=3), []
    ids = torch.tensor([2, 0])
    for step in range(5):
        engine.field("ctrl").fill_(step)
        expected.append({name: engine.field(name)[ids].clone() for name in STATE_FIELDS})
        recorder.record()
        assert len(recorder) == min(step + 1, 3)
        engine.step()
    history = recorder.history(ids)
    for name in STATE_FIELDS:
        assert torch.equal(history[name], torch.stack([row[name] for row in expected[-3:]]))


def test_option_fields_are_replayed_too(tmp_path, beads_xml):
    """With a time step of 20 ms the servo is unstable for the usual mass; the model's own 5 ms would be stable."""
    engine = make_engine("mujoco", mujoco.MjModel.from_xml_string(beads_xml), 2, threads=1, expand=("opt.timestep",))
    engine.field("qpos")[:, 1] = 1e-3
    engine.expand("opt.timestep")[1] = 0.02
    recorder = StateRecorder(engine, length=2)
    run_until_astray(engine, recorder)
    replays = replay_dump(write_dump(tmp_path / "d.npz", engine, recorder, torch.arange(2)))
    assert [replay.record for replay in replays] == [None, 1]


def test_nothing_to_dump_and_odd_lengths_are_refused(beads, tmp_path):
    recorder = StateRecorder(beads)
    with pytest.raises(ValueError, match="0 records"):
        write_dump(tmp_path / "d.npz", beads, recorder, torch.tensor([0]))
    recorder.record()
    with pytest.raises(ValueError, match="0 environments"):
        write_dump(tmp_path / "d.npz", beads, recorder, torch.tensor([], dtype=torch.int64))
    with pytest.raises(ValueError, match="at least 1"):
        StateRecorder(beads, length=0)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def written(tmp_path, beads_xml):
    engine = make_engine("mujoco", mujoco.MjModel.from_xml_string(beads_xml), ENVS, threads=1, expand=("body_mass",))
    recorder = StateRecorder(engine, length=2)
    recorder.record()
    return write_dump(tmp_path / "good.npz", engine, recorder, torch.tensor([1]))


def rewrite(path, **changes):
    """Write the dump again with other entries (None: without the entry)."""
    with np.load(path) as file:
        arrays = dict(file) | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def test_damaged_files_are_refused_with_the_reason(written):
    whole = written.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for content in (b"", b"no archive", whole[: len(whole) // 2], bytes(damaged)):
        written.write_bytes(content)
        with pytest.raises(DumpError, match=r"good\.npz: (damaged|not a divergence dump|cannot be read)"):
            load_dump(written)
    with pytest.raises(DumpError, match="No such file"):
        load_dump(written.with_name("missing.npz"))
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("about.npy", b"not an array")
    with pytest.raises(DumpError, match="damaged"):
        load_dump(written)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"model": None}, "'model' is missing"),
        ({"state/qvel": None}, "state fields are"),
        ({"state/qvel": np.zeros((1, 1, 3))}, r"qvel is float64\(1, 1, 3\), its model needs float64\(1, 1, 2\)"),
        ({"state/qpos": np.zeros((0, 1, 2))}, "its model needs"),
        ({"state/ctrl": np.zeros((1, 1, 1), dtype=np.int8)}, "int8"),
        ({"model/body_mass": np.zeros((1, 2))}, "body_mass is"),
        ({"model/body_weight": np.zeros((1, 2))}, "no field 'body_weight'"),
        ({"ids": np.zeros(0, dtype=np.int64)}, "no environments"),
        ({"model": np.zeros(100, dtype=np.uint8)}, f"written by MuJoCo {mujoco.__version__}"),
        ({"about": np.array(["x", None], dtype=object)}, "damaged"),
        ({"about": np.array("{")}, "damaged"),
        ({"about": np.array(json.dumps({"format": 99, "mujoco": "9", "substeps": 1}))}, "format 99"),
    ],
)
def test_entries_that_do_not_fit_are_named(written, entries, message):
    rewrite(written, **entries)
    with pytest.raises(DumpError, match=message):
        load_dump(written)
