"""The pipeline module on signals made by hand; no simulator."""

import dataclasses

import pytest
import torch

from robolearn.config import ConfigError, parse
from sim.observation import TERMS, GroupConfig, Layout, ObservationConfig, ObservationPipeline, SensorConfig
from sim.rotations import projected_gravity
from sim.terrain import scan_points

N = 3
COMMAND_MIRROR = (1.0, -1.0, -1.0)


@pytest.fixture
def layout(a1):
    return Layout(a1, (17, 11), COMMAND_MIRROR, gait=True, settings=("budget",))


@pytest.fixture
def pipeline(layout):
    def _build(**groups):
        return ObservationPipeline({name: parse(GroupConfig, entries) for name, entries in groups.items()}, layout)

    return _build


def signals(seed=0, scan=187):
    generator = torch.Generator().manual_seed(seed)

    def draw(width):
        return torch.randn(N, width, generator=generator)

    return {
        "command": draw(3),
        "joint_position": draw(12),
        "joint_velocity": draw(12),
        "base_angular_velocity": draw(3),
        "base_orientation": torch.nn.functional.normalize(draw(4), dim=1),
        "previous_action": draw(12),
        "base_linear_velocity": draw(3),
        "external_force": draw(3),
        "foot_force": draw(4).abs(),
        "height_scan": draw(scan),
        "budget": draw(1),
        "gait_phase": torch.tensor([[0.0], [0.125], [0.75]]),
        "gait_stance": torch.tensor([[1.0, 0, 1, 0]] * N),
    }


def observe(group, values, disturbance=None):
    return group(values, group.initial_memory(N, "cpu"), disturbance)[0]


def test_columns_follow_the_order_of_the_file(pipeline, a1):
    terms = {"joint_position": {}, "command": {"scale": [2, 3, 4]}, "projected_gravity": {"scale": 0.5}}
    group = pipeline(g={"terms": terms}).group("g")
    x = signals()
    expected = torch.cat(
        (
            x["joint_position"] - torch.tensor(a1.default_pose),
            x["command"] * torch.tensor([2.0, 3, 4]),
            projected_gravity(x["base_orientation"]) * 0.5,
        ),
        1,
    )
    assert torch.allclose(observe(group, x), expected)
    assert group.slices == {
        "joint_position": slice(0, 12),
        "command": slice(12, 15),
        "projected_gravity": slice(15, 18),
    }
    assert group.width == group.frame_width == 18


COMPUTED = ("joint_position", "projected_gravity", "roll_pitch", "gait_clock")


@pytest.mark.parametrize("name", [name for name in TERMS if name not in COMPUTED])
def test_other_terms_are_the_signal_itself(pipeline, name):
    x = signals()
    group = pipeline(g={"terms": {name: {}}}).group("g")
    assert torch.equal(observe(group, x), x[TERMS[name].signal])


def test_the_gait_clock_is_a_point_on_the_circle(pipeline):
    group = pipeline(g={"terms": {"gait_clock": {}}}).group("g")
    expected = torch.tensor([[0.0, 1.0], [0.5**0.5, 0.5**0.5], [-1.0, 0.0]])
    assert torch.allclose(observe(group, signals()), expected, atol=1e-6)


def test_without_a_gait_there_is_no_clock(a1):
    for name in ("gait_clock", "gait_stance"):
        with pytest.raises(ConfigError, match=f"terms.{name}: this robot or task has no such signal"):
            ObservationPipeline({"g": parse(GroupConfig, {"terms": {name: {}}})}, Layout(a1, (0, 0), COMMAND_MIRROR))


def test_clip_acts_after_scale_and_noise_before_it(pipeline):
    terms = {"base_linear_velocity": {"scale": 2.0, "clip": 1.0}, "command": {}}
    group = pipeline(g={"terms": terms}).group("g")
    x = signals() | {"base_linear_velocity": torch.tensor([[0.3, 0.6, -3.0]]).repeat(N, 1)}
    x["command"] = torch.full((N, 3), 7.0)
    disturbance = torch.zeros(N, 6)
    disturbance[:, 0] = 0.1
    frame = observe(group, x, disturbance)
    assert torch.allclose(frame, torch.tensor([0.8, 1.0, -1.0, 7.0, 7.0, 7.0]).expand(N, 6))


def test_offset_is_subtracted_before_scaling(pipeline, a1):
    group = pipeline(g={"terms": {"joint_position": {"scale": 10.0}}}).group("g")
    x = signals() | {"joint_position": torch.tensor(a1.default_pose).repeat(N, 1) + 0.01}
    assert torch.allclose(observe(group, x), torch.full((N, 12), 0.1), atol=1e-5)


def test_history_is_newest_first_and_starts_with_zeros(pipeline):
    group = pipeline(g={"terms": {"command": {}}, "history": 3}).group("g")
    memory = group.initial_memory(1, "cpu")
    assert group.width == 9
    seen = []
    for k in (1.0, 2.0, 3.0, 4.0):
        frame, memory = group({"command": torch.full((1, 3), k)}, memory)
        seen.append(frame.view(3, 3)[:, 0].tolist())
    assert seen == [[1, 0, 0], [2, 1, 0], [3, 2, 1], [4, 3, 2]]


def test_noise_and_bias_are_bounded_uniform_per_column(pipeline):
    terms = {"command": {}, "base_angular_velocity": {"noise": 0.2, "bias": 0.5}}
    group = pipeline(g={"terms": terms, "measured": True}).group("g")
    generator = torch.Generator().manual_seed(0)
    for sample, half in (
        (group.sample_noise(4000, generator), 0.2),
        (group.sample_bias(4000, generator), 0.5),
    ):
        assert torch.equal(sample[:, :3], torch.zeros(4000, 3))
        assert sample.abs().max() <= half
        assert sample[:, 3:].amin() < -0.95 * half
        assert sample[:, 3:].amax() > 0.95 * half
        assert sample[:, 3:].std() == pytest.approx(half / 3**0.5, rel=0.03)  # of a uniform distribution
    assert group.noisy
    assert group.biased
    true = pipeline(g={"terms": terms}).group("g")
    assert not true.noisy  # not a measured group
    assert not true.biased


# mirroring


ALL_TERMS = {name: {} for name in TERMS}


def test_mirroring_twice_changes_nothing(pipeline):
    both = pipeline(policy={"terms": ALL_TERMS, "history": 2}, critic={"terms": ALL_TERMS})
    symmetry = both.symmetry()
    for name, group in both.items():
        x = torch.randn(N, group.width)
        mirror = symmetry.obs[name]
        assert not torch.equal(mirror(x), x)
        assert torch.equal(mirror(mirror(x)), x)
        assert sorted(mirror.index.tolist()) == list(range(group.width))
    action = torch.randn(N, 12)
    assert torch.equal(symmetry.action(symmetry.action(action)), action)


def mirrored(x, a1):
    """What the sensors of the mirrored robot would read, from the geometry: M = diag(1, -1, 1)."""
    vector, pseudo = torch.tensor([1.0, -1, 1]), torch.tensor([-1.0, 1, -1])
    joints, signs = [m.index for m in a1.mirror], torch.tensor([m.sign for m in a1.mirror])
    scan = x["height_scan"].view(N, 17, 11).flip(2).reshape(N, -1)
    return {
        "command": x["command"] * torch.tensor(COMMAND_MIRROR),
        "joint_position": x["joint_position"][:, joints] * signs,
        "joint_velocity": x["joint_velocity"][:, joints] * signs,
        "base_angular_velocity": x["base_angular_velocity"] * pseudo,
        "base_orientation": x["base_orientation"] * torch.tensor([1.0, -1, 1, -1]),
        "previous_action": x["previous_action"][:, joints] * signs,
        "base_linear_velocity": x["base_linear_velocity"] * vector,
        "external_force": x["external_force"] * vector,
        "foot_force": x["foot_force"][:, [1, 0, 3, 2]],
        "height_scan": scan,
        "budget": x["budget"],
        "gait_phase": (x["gait_phase"] + 0.5) % 1,  # the other leg's turn
        "gait_stance": x["gait_stance"][:, [1, 0, 3, 2]],
    }


def test_observing_the_mirrored_robot_gives_the_mirrored_observation(pipeline, a1):
    both = pipeline(g={"terms": ALL_TERMS, "history": 2})
    group, symmetry = both.group("g"), both.symmetry()
    memory, memory_mirrored = group.initial_memory(N, "cpu"), group.initial_memory(N, "cpu")
    for seed in range(2):
        x = signals(seed)
        frame, memory = group(x, memory)
        other, memory_mirrored = group(mirrored(x, a1), memory_mirrored)
        assert torch.allclose(symmetry.obs["g"](frame), other, atol=1e-6)


def test_the_scan_s_mirror_fits_the_scan_s_points(layout):
    points = scan_points(1.6, 1.0, 0.1)
    index, sign = TERMS["height_scan"].mirror(layout)
    assert torch.allclose(points[index], points * torch.tensor([1.0, -1.0]), atol=1e-6)
    assert set(sign) == {1.0}


def test_a_robot_without_mirror_image_has_no_symmetry(a1):
    layout = Layout(dataclasses.replace(a1, mirror=None, foot_mirror=None), (0, 0), COMMAND_MIRROR)
    assert ObservationPipeline({"g": parse(GroupConfig, {"terms": {"command": {}}})}, layout).symmetry() is None


# export


@pytest.mark.parametrize("history", [1, 4])
def test_traced_and_exported_groups_equal_the_eager_one(pipeline, history):
    terms = {
        "command": {"scale": [2, 2, 0.25]},
        "base_angular_velocity": {"scale": 0.25},
        "projected_gravity": {},
        "joint_position": {"clip": 1.0},
        "previous_action": {},
    }
    group = pipeline(g={"terms": terms, "history": history}).group("g").eval()
    needed = {TERMS[name].signal for name in terms}
    first, second = ({name: x for name, x in signals(seed).items() if name in needed} for seed in (0, 1))
    memory = torch.randn(N, history - 1, group.frame_width)
    expected = group(second, memory)
    for graph in (
        torch.jit.trace(group, (first, memory), strict=False),
        torch.export.export(group, (first, memory)).module(),
    ):
        result = graph(second, memory)
        assert torch.equal(result[0], expected[0])
        assert torch.equal(result[1], expected[1])


# mistakes


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"terms": {"joint_pos": {}}}, r"observations\.g\.terms: unknown observation term 'joint_pos'\. Did you mean"),
        ({"terms": {"command": {"scale": [1.0, 2.0]}}}, r"terms\.command\.scale: expected 3 values, got 2"),
        ({"terms": {"command": {"noise": -1}}}, "noise and bias must be >= 0"),
        ({"terms": {"command": {"clip": 0}}}, "clip > 0"),
        ({"terms": {"command": {"gain": 1}}}, "unknown key 'gain'"),
        ({"terms": {}}, "at least one term"),
        ({"terms": {"command": {}}, "history": 0}, "history must be between 1 and 256"),
    ],
)
def test_mistakes_are_named(pipeline, group, message):
    with pytest.raises(ConfigError, match=message):
        pipeline(g=group)


def test_a_term_without_its_signal_is_refused(a1):
    layout = Layout(a1, (0, 0), COMMAND_MIRROR)
    with pytest.raises(ConfigError, match=r"g\.terms\.height_scan: this robot or task has no such signal"):
        ObservationPipeline({"g": parse(GroupConfig, {"terms": {"height_scan": {}}})}, layout)


def test_unknown_group_is_named(pipeline):
    with pytest.raises(ConfigError, match="Did you mean 'policy'"):
        pipeline(policy={"terms": {"command": {}}}).group("polcy")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"delay": [3, 1]}, "delay must be an ordered pair"),
        ({"delay": [0, 65]}, "between 0 and 64"),
        ({"scan_spacing": 0}, "scan_spacing > 0"),
    ],
)
def test_sensor_mistakes_are_named(entries, message):
    with pytest.raises(ConfigError, match=message):
        parse(SensorConfig, entries)


@pytest.mark.parametrize(
    ("size", "shape"), [((0.0, 0.0), (0, 0)), ((1.6, 1.0), (17, 11)), ((0.4, 0.0), (5, 1)), ((0.0, 0.2), (1, 3))]
)
def test_scan_shape_counts_the_scan_s_points(size, shape):
    config = SensorConfig(scan_size=size)
    assert config.scan_shape == shape
    if max(size):
        assert len(scan_points(*size, config.scan_spacing)) == shape[0] * shape[1]


def test_extra_groups_come_after_policy_and_critic():
    config = parse(ObservationConfig, {name: {"terms": {"command": {}}} for name in ("policy", "critic")})
    assert list(config.groups) == ["policy", "critic"]
    group = {"terms": {"command": {}}}
    config = parse(ObservationConfig, {"policy": group, "critic": group, "extra": {"privileged": group}})
    assert list(config.groups) == ["policy", "critic", "privileged"]


def test_extra_groups_may_not_replace_the_named_ones():
    group = {"terms": {"command": {}}}
    with pytest.raises(ConfigError, match="'policy'"):
        parse(ObservationConfig, {"policy": group, "critic": group, "extra": {"policy": group}})
