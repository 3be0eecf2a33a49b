import re
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from mujoco.batch import Batch

from robolearn.config import ConfigError, parse
from sim.terrain import TILES, Terrain, TerrainConfig, TerrainCurriculum, scan_points, tile_kind
from sim.terrain.__main__ import draw
from sim.terrain.tiles import column_kinds, generate

KINDS = list(TILES)
DOCS = Path(__file__).parents[2] / "docs" / "terrain.md"


def rough(**entries) -> TerrainConfig:
    """A small rough terrain: by default 3 levels of every tile kind."""
    defaults = {"levels": 3, "columns": len(KINDS), "border": 1.0, "proportions": dict.fromkeys(KINDS, 1.0)}
    return TerrainConfig(kind="rough", **(defaults | entries))


def one_column(kind: str, **entries) -> TerrainConfig:
    return rough(columns=1, proportions={kind: 1.0}, **entries)


def compiled(terrain: Terrain, *geoms: dict, slides: bool = True) -> mujoco.MjModel:
    """The terrain with one body of the given geoms, which slides along x, y, z (or moves freely)."""
    spec = mujoco.MjSpec()
    terrain.add_to(spec)
    if geoms:
        body = spec.worldbody.add_body(name="body")
        if slides:
            for axis in np.eye(3):
                body.add_joint(type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
        else:
            body.add_freejoint()
        for geom in geoms:
            body.add_geom(mass=3.0, contype=0, conaffinity=1, **geom)
    spec.option.timestep = 0.005
    return spec.compile()


SPHERE = {"type": mujoco.mjtGeom.mjGEOM_SPHERE, "size": (0.02, 0, 0), "friction": (0.8, 0.005, 1e-4)}


# configuration


def test_configuration_is_read_from_plain_mappings():
    config = parse(TerrainConfig, {"kind": "rough", "slope": [0, 0.3], "proportions": {"stairs_up": 2, "slope": 1}})
    assert config.slope == (0.0, 0.3)
    assert config.proportions == {"stairs_up": 2.0, "slope": 1.0}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"proportions": {"stair_up": 1}}, "unknown tile kind 'stair_up'. Did you mean 'stairs_up'"),
        ({"kind": "ruff"}, "kind: 'ruff' is not one of the choices. Valid: flat, rough"),
        ({"resolutoin": 0.1}, "resolution"),
        ({"resolution": 0.07}, "tile_size must be a whole multiple of resolution 0.07"),
        ({"border": 0.05}, "border must be a whole multiple"),
        ({"border": -1.0}, "border"),
        ({"platform": 8.0}, "platform"),
        ({"levels": 0}, "levels"),
        ({"step_width": 0.05}, "step_width"),
        ({"initial_max_level": -1}, "initial_max_level"),
        ({"proportions": {"slope": -1}}, "proportions.slope must not be negative"),
        ({"proportions": {}}, "proportions"),
    ],
)
def test_bad_entries_are_named(entries, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(TerrainConfig, entries)


# tiles


def test_columns_are_shared_out_by_proportion():
    kinds = column_kinds(TerrainConfig())
    assert [(kind, kinds.count(kind)) for kind in dict.fromkeys(kinds)] == [
        ("slope", 2),
        ("rough_slope", 4),
        ("stairs_up", 6),
        ("stairs_down", 6),
        ("discrete", 2),
    ]


def test_same_seed_same_ground():
    first, again, other = generate(rough(seed=3)), generate(rough(seed=3)), generate(rough(seed=4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_tile_does_not_depend_on_its_neighbours():
    few, many = generate(rough(levels=2)), generate(rough(levels=2, columns=2 * len(KINDS)))
    assert np.array_equal(few[10:91, 10:], many[10:91, 10:])  # the first column is the same kind in both


@pytest.mark.parametrize("kind", KINDS)
def test_platforms_are_level_and_edges_are_zero(kind):
    terrain = Terrain(one_column(kind))
    for level in range(3):
        x, y, z = terrain.origins[level, 0].tolist()
        square = torch.cartesian_prod(torch.linspace(-1, 1, 21), torch.linspace(-1, 1, 21)) + torch.tensor([x, y])
        assert torch.allclose(terrain.heights_at(square), torch.tensor(z), atol=1e-5)
        side = torch.linspace(-4, 4, 81)
        for edge in (
            torch.stack([side, torch.full_like(side, 4)], -1),
            torch.stack([torch.full_like(side, -4), side], -1),
        ):
            assert terrain.heights_at(edge + torch.tensor([x, y])).abs().max() < 1e-6


def test_stairs_have_the_published_rise_and_run():
    terrain = Terrain(one_column("stairs_up", levels=10))
    for level in (0, 9):
        rise = 0.05 + 0.18 * level / 10
        origin = terrain.origins[level, 0]
        assert origin[2].item() == pytest.approx(-10 * rise, abs=1e-5)  # (8 - 2) / 2 / 0.3 = 10 stairs
        # samples in the middle of the treads along +x: 0.3 m apart, each one rise higher
        x = 1.0 + 0.2 + 0.3 * torch.arange(10)
        treads = terrain.heights_at(torch.stack([x, torch.zeros(10)], -1) + origin[:2]) - origin[2]
        assert torch.allclose(treads, rise * torch.arange(1, 11), atol=1e-5)
    down = Terrain(one_column("stairs_down", levels=10))
    assert np.array_equal(down.heights, -terrain.heights)


def test_slopes_have_the_published_gradient():
    terrain = Terrain(one_column("slope", levels=10))
    for level in range(10):
        origin = terrain.origins[level, 0]
        points = origin[:2] + torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, -2.0], [0.0, -3.0]])
        h = terrain.heights_at(points)
        for rise in (h[0] - h[1], h[2] - h[3]):
            assert abs(rise.item()) == pytest.approx(0.4 * level / 10, abs=1e-5)
        assert abs(origin[2].item()) == pytest.approx(3 * 0.4 * level / 10, abs=1e-5)


def test_rough_slopes_are_slopes_with_bounded_noise():
    noise = generate(one_column("rough_slope", levels=10, slope=(0.0, 0.0)))
    for level in range(10):
        tile = noise[10:91, 10 + 80 * level : 91 + 80 * level]
        largest = 0.01 + 0.07 * level / 10
        assert 0.8 * largest < np.abs(tile).max() <= largest + 1e-6


def test_obstacles_have_the_published_heights():
    heights = generate(one_column("discrete", levels=10))
    for level in range(10):
        tile = heights[10:91, 10 + 80 * level : 91 + 80 * level]
        h = 0.05 + 0.1 * level / 10
        assert set(np.unique(tile.round(5))) <= {np.float32(v).round(5) for v in (-h, -h / 2, 0, h / 2, h)}
        assert len(np.unique(tile)) >= 4


def test_a_wrong_tile_function_is_named(monkeypatch):
    monkeypatch.setitem(TILES, "short", lambda tile: np.zeros(3))
    with pytest.raises(ValueError, match="tile kind 'short' must return finite heights of shape"):
        generate(one_column("short"))


# look-up


def test_heights_agree_with_rays_cast_by_mujoco():
    terrain = Terrain(rough())
    model = compiled(terrain)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    x, y = terrain.half_extent
    points = np.random.default_rng(0).uniform([-x, -y], [x, y], (4000, 2))
    hit = np.zeros(1, np.int32)
    rays = [
        5.0 - mujoco.mj_ray(model, data, np.array([*p, 5.0]), np.array([0, 0, -1.0]), None, 1, -1, hit) for p in points
    ]
    ours = terrain.heights_at(torch.from_numpy(points)).numpy()
    assert ours.dtype == np.float32
    assert np.abs(ours).max() > 0.5
    assert np.abs(ours - rays).max() < 1e-4  # single precision of the position, on risers of slope 2


def saddle(tile):
    """Cells are split along the diagonal that this ground shows: a valley there, a ridge along the other one."""
    return np.indices(tile.x.shape).sum(0) % 2 * 1.0


def test_contacts_see_the_same_triangles_as_rays_and_look_ups(monkeypatch):
    monkeypatch.setitem(TILES, "saddle", saddle)
    terrain = Terrain(one_column("saddle", levels=1, border=0.0))
    # centre of the cell of sample (40, 40): its corners 00 and 11 have height 0, the other two 1
    assert terrain.heights_at(torch.tensor([0.05, 0.05])).item() == pytest.approx(0.0, abs=1e-5)
    assert terrain.heights_at(torch.tensor([0.05, 0.15])).item() == pytest.approx(1.0, abs=1e-5)
    model = compiled(terrain, SPHERE | {"size": (0.001, 0, 0)})
    data = mujoco.MjData(model)
    for y, touches in ((0.05, False), (0.15, True)):
        data.qpos[:] = 0.05, y, 0.4
        mujoco.mj_forward(model, data)
        assert bool(data.ncon) is touches


def test_look_up_by_hand(monkeypatch):
    monkeypatch.setitem(TILES, "plane_of_4", lambda tile: np.array([[0.0, 1.0], [2.0, 4.0]]))
    config = one_column("plane_of_4", tile_size=1.0, resolution=1.0, levels=1, border=0.0, platform=0.5, step_width=1.0)
    monkeypatch.setattr(Terrain, "_tile_origins", lambda self: np.zeros((1, 1, 3), np.float32))
    terrain = Terrain(config)
    # heights 0 at (-.5, -.5), 1 at (.5, -.5), 2 at (-.5, .5), 4 at (.5, .5)
    xy = torch.tensor([[-0.5, -0.5], [0.5, 0.5], [0.25, -0.25], [-0.25, 0.25], [9.0, -9.0], [-9.0, 9.0], [0.5, 0.0]])
    expected = torch.tensor([0.0, 4.0, 0.75 + 0.25 * 3, 0.75 * 2 + 0.25 * 2, 1.0, 2.0, 2.5])
    assert torch.allclose(terrain.heights_at(xy), expected)
    assert torch.allclose(terrain.heights_at(xy.double().reshape(7, 1, 2)), expected.reshape(7, 1))
    strange = terrain.heights_at(torch.tensor([[float("nan"), 0.0], [0.5, 0.5]]))
    assert strange[0].isnan()
    assert strange[1] == 4.0
    assert terrain.heights_at(torch.tensor([[float("inf"), -float("inf")]])) == 1.0
    assert terrain.heights_at(torch.zeros(0, 2)).shape == (0,)


def test_look_up_leaves_its_input_alone():
    terrain = Terrain(one_column("slope"))
    xy = torch.rand(5, 3, 2)
    before = xy.clone()
    assert terrain.heights_at(xy).shape == (5, 3)
    assert torch.equal(xy, before)


def test_outside():
    terrain = Terrain(one_column("slope"))  # 3 x 1 tiles and a border of 1 m
    assert terrain.half_extent == pytest.approx((13.0, 5.0))
    xy = torch.tensor([[0.0, 0.0], [12.4, 4.4], [12.6, 0.0], [0.0, -4.6]])
    assert terrain.outside(xy).tolist() == [False, False, True, True]
    assert not Terrain(TerrainConfig()).outside(torch.tensor([[1e6, 0.0]])).any()


def test_origins_lie_on_the_ground_in_the_middle_of_their_tiles():
    terrain = Terrain(rough())
    assert terrain.origins.shape == (3, len(KINDS), 3)
    assert torch.allclose(terrain.heights_at(terrain.origins[..., :2]), terrain.origins[..., 2], atol=1e-5)
    assert terrain.origins[:, 0, 0].tolist() == [-8, 0, 8]
    assert terrain.origins[0, :, 1].tolist() == [-16, -8, 0, 8, 16]
    assert terrain.origins[..., 2].unique().numel() > 6


def test_flat_ground_is_zero_everywhere():
    terrain = Terrain(TerrainConfig())
    heights = terrain.heights_at(torch.randn(4, 7, 2) * 1e4)
    assert heights.shape == (4, 7)
    assert not heights.any()
    assert torch.equal(terrain.origins, torch.zeros(1, 1, 3))


def test_scan_points():
    points = scan_points()
    assert points.shape == (187, 2)
    assert points[0].tolist() == pytest.approx([-0.8, -0.5])
    assert points[1].tolist() == pytest.approx([-0.8, -0.4])
    assert points[-1].tolist() == pytest.approx([0.8, 0.5])
    assert points.mean(0).abs().max() < 1e-6
    assert scan_points(0.0, 0.3, 0.1).shape == (4, 2)
    assert scan_points(0.0, 0.0, 0.1).tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match="spacing > 0"):
        scan_points(spacing=0.0)


# physics


@pytest.mark.parametrize(("kind", "name"), [("flat", "floor"), ("rough", "terrain")])
def test_ground_touches_geoms_that_only_have_an_affinity(kind, name):
    terrain = Terrain(rough() if kind == "rough" else TerrainConfig())
    model = compiled(terrain, SPHERE)
    geom = model.geom(name)
    assert terrain.geom_name == name
    assert (geom.contype.item(), geom.conaffinity.item()) == (1, 0)
    assert geom.matid.item() >= 0
    data = mujoco.MjData(model)
    data.qpos[2] = terrain.heights_at(torch.zeros(2)).item() + 0.0199
    mujoco.mj_forward(model, data)
    assert data.ncon >= 1
    data.qpos[2] += 0.001
    mujoco.mj_forward(model, data)
    assert data.ncon == 0


@pytest.mark.parametrize("kind", KINDS)
def test_feet_come_to_rest_on_the_surface(kind):
    """Feet of 2 cm, 3 kg, 1 m/s, dropped on the hardest tile: none passes the surface, none is thrown up."""
    terrain = Terrain(one_column(kind, levels=10, border=4.0))
    model = compiled(terrain, SPHERE)
    n, rng = 64, np.random.default_rng(0)
    batch = Batch(model, n, 1)
    qpos, qvel = batch.bind("qpos"), batch.bind("qvel")

    def clearance():
        return qpos[:, 2] - terrain.heights_at(torch.from_numpy(qpos[:, :2].copy())).numpy()

    qpos[:, :2] = terrain.origins[9, 0, :2].numpy() + rng.uniform(-3.8, 3.8, (n, 2))
    qpos[:, 2] = rng.uniform(0.02, 0.1, n) - clearance()
    qvel[:, :2] = rng.uniform(-1, 1, (n, 2))
    lowest, fastest = np.inf, 0.0
    for _ in range(300):
        batch.step()
        lowest, fastest = min(lowest, clearance().min()), max(fastest, np.abs(qvel).max())
    assert np.isfinite(qpos).all()
    assert lowest > 0.0  # no centre ever passed the surface
    assert fastest < 4.0  # a fall of 0.3 m from an edge ends at 2.4 m/s
    assert np.linalg.norm(qvel, axis=1).max() < 0.1
    for i in range(n):
        data = batch.get_data(i)
        mujoco.mj_forward(model, data)
        assert data.ncon >= 1
        assert data.contact.dist.min() > -0.003


def test_large_geoms_stay_below_the_limit_of_contacts_per_pair():
    """MuJoCo drops what goes beyond 50 contacts of two geoms: the largest trunk, lying flat, must stay below."""
    trunk = {"type": mujoco.mjtGeom.mjGEOM_BOX, "size": (0.3235, 0.075, 0.056)}
    terrain = Terrain(rough(levels=1, columns=1))
    model = compiled(terrain, trunk, slides=False)
    data = mujoco.MjData(model)
    data.qpos[:3] = 0.013, 0.021, terrain.origins[0, 0, 2].item() + 0.1
    most = 0
    for _ in range(200):
        mujoco.mj_step(model, data)
        most = max(most, data.ncon)
    assert 4 <= most < 50
    assert data.qpos[2] - terrain.origins[0, 0, 2].item() == pytest.approx(0.056, abs=1e-3)
    assert abs(data.qpos[3]) > 0.999


def test_warp_accepts_the_height_field():
    warp = pytest.importorskip("warp")
    mjw = pytest.importorskip("mujoco_warp")
    kinds = mujoco.mjtGeom
    geoms = (
        SPHERE,
        {"type": kinds.mjGEOM_CAPSULE, "size": (0.02, 0.1, 0)},
        {"type": kinds.mjGEOM_BOX, "size": (0.1, 0.1, 0.1)},
    )
    terrain = Terrain(rough())
    model = compiled(terrain, *geoms)
    with warp.ScopedDevice("cpu"):
        put = mjw.put_model(model)
    assert np.array_equal(put.hfield_data.numpy(), model.hfield_data)
    metres = put.hfield_data.numpy() * put.hfield_size.numpy()[0, 2] + terrain.heights.min()
    assert np.abs(metres - terrain.heights.ravel()).max() < 1e-5


# curriculum


def small_curriculum(num_envs: int = 10, **entries) -> TerrainCurriculum:
    return TerrainCurriculum(Terrain(rough(**entries)), num_envs, torch.Generator().manual_seed(0))


def test_levels_follow_the_distance():
    curriculum = small_curriculum(4)
    curriculum.level[:] = torch.tensor([1, 1, 1, 0])
    curriculum.update(
        torch.tensor([3, 0, 1, 2]),
        walked_distance=torch.tensor([0.0, 4.1, 3.9, 1.0]),
        commanded_distance=torch.tensor([5.0, 20.0, 7.7, 2.1]),
    )
    # 0 left its tile, 1 covered more than half, 2 less than half, 3 is on the easiest level already
    assert curriculum.level.tolist() == [2, 1, 0, 0]


def test_only_the_given_environments_move():
    curriculum = small_curriculum(3)
    curriculum.level[:] = 0
    curriculum.update(torch.tensor([1]), torch.tensor([8.0]), torch.tensor([8.0]))
    assert curriculum.level.tolist() == [0, 1, 0]


def test_who_passes_the_last_level_goes_on_anywhere():
    curriculum = small_curriculum(600)
    curriculum.level[:] = 2
    curriculum.update(torch.arange(600), torch.full((600,), 9.0), torch.full((600,), 9.0))
    counts = curriculum.level.bincount(minlength=3)
    assert len(counts) == 3
    assert counts.min() > 150  # uniform: 200 each, standard deviation 12
    assert curriculum.mean_level.item() == pytest.approx(curriculum.level.double().mean().item())


def test_start_levels_and_columns():
    curriculum = small_curriculum(50, initial_max_level=1)
    assert set(curriculum.level.tolist()) == {0, 1}
    assert curriculum.column.bincount().tolist() == [10] * 5
    assert set(small_curriculum(50, initial_max_level=99).level.tolist()) == {0, 1, 2}
    fixed = small_curriculum(50, initial_max_level=0, curriculum=False)
    assert set(fixed.level.tolist()) == {0, 1, 2}
    before = fixed.level.clone()
    fixed.update(torch.arange(50), torch.full((50,), 9.0), torch.full((50,), 9.0))
    assert torch.equal(fixed.level, before)


def test_origins_of_environments():
    terrain = Terrain(rough())
    curriculum = TerrainCurriculum(terrain, 5, torch.Generator().manual_seed(0))
    curriculum.level[:] = torch.tensor([0, 1, 2, 1, 0])
    assert curriculum.column.tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(
        curriculum.origins(torch.tensor([2, 3])), torch.stack([terrain.origins[2, 2], terrain.origins[1, 3]])
    )
    assert curriculum.origins().shape == (5, 3)


def test_flat_ground_has_one_origin():
    curriculum = TerrainCurriculum(Terrain(TerrainConfig()), 3, torch.Generator())
    curriculum.update(torch.arange(3), torch.full((3,), 99.0), torch.full((3,), 1.0))
    assert torch.equal(curriculum.origins(), torch.zeros(3, 3))


def test_curriculum_state_round_trip():
    first, second = small_curriculum(10), small_curriculum(10)
    state = first.state_dict()
    first.level[:] = 0
    second.level[:] = 0
    second.load_state_dict(state)
    assert torch.equal(second.level, state["level"])
    assert state["level"].any()  # the copy did not follow the change
    with pytest.raises(ValueError, match="10 environments, this run has 4"):
        small_curriculum(4).load_state_dict(state)
    with pytest.raises(ValueError, match="level beyond this terrain's 3"):
        second.load_state_dict(state | {"level": state["level"] + 3})


# documentation


def test_the_picture_shows_relief():
    try:
        mujoco.GLContext(8, 8).free()
    except Exception as error:
        pytest.skip(f"no OpenGL here: {error}")
    picture = draw(Terrain(one_column("stairs_up")), width=160, height=80)
    assert picture.shape == (80, 160, 3)
    lower_half = picture[40:].mean(-1)
    assert lower_half.std() > 5.0


def test_the_documented_tile_kind_works(monkeypatch):
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S) if "@tile_kind" in block)
    monkeypatch.setattr("sim.terrain.tiles.TILES", TILES)
    known = dict(TILES)
    try:
        exec(code, {})
        (name,) = set(TILES) - set(known)
        terrain = Terrain(one_column(name))
    finally:
        for name in set(TILES) - set(known):
            del TILES[name]
    assert np.ptp(terrain.heights) > 0.02
    assert terrain.origins[..., 2].abs().max() < 1e-6


def test_tile_kind_registers_under_the_functions_name(monkeypatch):
    monkeypatch.delitem(TILES, "slope")

    def slope(tile):
        return np.zeros_like(tile.x)

    assert tile_kind(slope) is slope
    assert TILES["slope"] is slope
