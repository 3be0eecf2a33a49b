"""Strict configuration: every wrong entry is refused by name, every right one survives a round trip."""

import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn import config
from robolearn.config import ConfigError


@dataclass(frozen=True)
class Wheel:
    radius: float
    spokes: int = 8


@dataclass(frozen=True)
class Cart:
    name: str
    wheels: tuple[Wheel, ...] = ()
    size: tuple[float, float] = (1.0, 2.0)
    drive: Literal["front", "rear"] = "rear"
    tags: dict[str, float] = field(default_factory=dict)
    log: Path | None = None
    electric: bool = False

    def __post_init__(self) -> None:
        if self.size[0] <= 0:
            raise ValueError("size must be positive")


def test_parse_builds_the_whole_tree():
    cart = config.parse(Cart, {"name": "c", "wheels": [{"radius": 1}], "tags": {"a": 2}, "log": "x/y", "size": [3, 4]})
    assert cart == Cart("c", (Wheel(1.0),), (3.0, 4.0), tags={"a": 2.0}, log=Path("x/y"))
    assert isinstance(cart.wheels[0].radius, float)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "name: required entry is missing"),
        ({"name": "c", "wheel": []}, "unknown key 'wheel'. Did you mean 'wheels'?"),
        ({"name": 3}, "name: expected str, got 3 (int)"),
        ({"name": "c", "electric": 1}, "electric: expected bool, got 1 (int)"),
        ({"name": "c", "wheels": [{"radius": "big"}]}, "wheels[0].radius: expected a number"),
        ({"name": "c", "wheels": [{"radius": 1, "spokes": 2.5}]}, "wheels[0].spokes: expected int"),
        ({"name": "c", "wheels": [{"radius": 1, "spokes": True}]}, "wheels[0].spokes: expected int"),
        ({"name": "c", "wheels": 3}, "wheels: expected a list"),
        ({"name": "c", "size": [1, 2, 3]}, "size: expected 2 values, got 3"),
        ({"name": "c", "size": [-1, 2]}, "size must be positive"),
        ({"name": "c", "drive": "raer"}, "drive: 'raer' is not one of the choices. Did you mean 'rear'?"),
        ({"name": "c", "tags": {"a": float("nan")}}, "tags.a: must be a finite number"),
        ({"name": "c", "tags": [1]}, "tags: expected a mapping"),
    ],
)
def test_wrong_entries_are_named(data, message):
    with pytest.raises(ConfigError) as caught:
        config.parse(Cart, data)
    assert message in str(caught.value)


def test_nested_place_is_part_of_the_message():
    with pytest.raises(ConfigError, match=r"cart\.wheels\[1\]: unknown key 'spoke'"):
        config.parse(Cart, {"name": "c", "wheels": [{"radius": 1}, {"radius": 1, "spoke": 1}]}, "cart")


def test_nearest_lists_the_options_when_nothing_is_close():
    assert config.nearest("frictoin", ["friction", "mass"]) == " Did you mean 'friction'?"
    assert config.nearest("zzz", ["friction", "mass"]) == " Valid: friction, mass."
    assert config.nearest("zzz", []) == ""


def test_parse_returns_an_instance_unchanged():
    wheel = Wheel(2.0)
    assert config.parse(Wheel, wheel) is wheel


def test_merge_lays_mappings_over_each_other_and_null_removes():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 3, "c": 4}
    merged = config.merge(base, {"a": {"y": [9]}, "b": None, "d": {"e": None, "f": 1}})
    assert merged == {"a": {"x": 1, "y": [9]}, "c": 4, "d": {"f": 1}}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 3, "c": 4}, "the base must not change"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=3", {"a": {"b": 3}}),
        ("a=1e-3", {"a": 1e-3}),
        ("a=[1, 2]", {"a": [1, 2]}),
        ("a=", {"a": None}),
        ("a=null", {"a": None}),
        ("a=true", {"a": True}),
        ("a=x=y", {"a": "x=y"}),
        ("a={k: v}", {"a": {"k": "v"}}),
    ],
)
def test_parse_override(text, value):
    assert config.parse_override(text) == value


@pytest.mark.parametrize("text", ["a", "=3", "a..b=1", ".a=1", "a=[1"])
def test_parse_override_refuses(text):
    with pytest.raises(ConfigError, match="override"):
        config.parse_override(text)


def test_parse_settings():
    assert config.parse_settings([]) == {}
    assert config.parse_settings(["budget=0.7", " pace = 1e-1 "]) == {"budget": 0.7, "pace": 0.1}


@pytest.mark.parametrize("texts", [["budget"], ["=1"], ["budget=much"], ["budget=nan"], ["a=1", "a=2"]])
def test_parse_settings_refuses(texts):
    with pytest.raises(config.ConfigError, match=f"^settings {texts[-1]}: "):
        config.parse_settings(texts, "settings")


def test_load_yaml_reads_a_mapping(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb: {c: [x]}\n")
    assert config.load_yaml(path) == {"a": 1, "b": {"c": ["x"]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("- 1\n", "expected a mapping at the top, got list"),
        ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' is given twice"),
        ("a: {b: 1, b: 2}\n", "key 'b' is given twice"),
        ("a: [1\n", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_load_yaml_refuses(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"bad\.yaml") as caught:
        config.load_yaml(path)
    assert message in str(caught.value)


def test_load_yaml_refuses_missing_and_huge_files(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load_yaml(tmp_path / "none.yaml")
    big = tmp_path / "big.yaml"
    big.write_bytes(b" " * (config.MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="too large"):
        config.load_yaml(big)


def test_load_yaml_refuses_bytes_that_are_not_text(tmp_path):
    path = tmp_path / "b.yaml"
    path.write_bytes(b"a: \xff\xfe\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        config.load_yaml(path)


def test_hash_ignores_key_order_and_sees_values():
    assert config.config_hash({"a": 1, "b": 2}) == config.config_hash({"b": 2, "a": 1})
    assert config.config_hash({"a": 1}) != config.config_hash({"a": 2})
    assert len(config.config_hash({})) == 16


_names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)
_numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
_wheels = st.builds(Wheel, radius=_numbers, spokes=st.integers(-(10**9), 10**9))
_carts = st.builds(
    Cart,
    name=st.text(max_size=20),
    wheels=st.lists(_wheels, max_size=3).map(tuple),
    size=st.tuples(st.floats(1e-9, 1e9), _numbers),
    drive=st.sampled_from(["front", "rear"]),
    tags=st.dictionaries(_names, _numbers, max_size=3),
    log=st.none() | st.builds(Path, _names),
    electric=st.booleans(),
)


@given(_carts)
def test_round_trip_through_plain_mappings(cart):
    assert config.parse(Cart, config.to_dict(cart)) == cart


@given(_carts)
def test_round_trip_through_yaml_text_keeps_the_hash(cart):
    import yaml

    again = config.parse(Cart, yaml.safe_load(config.dump_yaml(cart)))
    assert again == cart
    assert config.config_hash(again) == config.config_hash(cart)


_trees = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)
_mappings = st.dictionaries(_names, _trees, max_size=4)


@given(_mappings)
def test_merge_with_nothing_or_with_itself_changes_nothing(tree):
    assert config.merge(tree, {}) == tree
    assert config.merge(tree, tree) == tree


@given(_mappings, _mappings)
def test_merge_ends_with_the_overriding_leaves(base, override):
    merged = config.merge(base, override)
    assert set(merged) == set(base) | set(override)
    for key, value in override.items():
        if not isinstance(value, dict):
            assert merged[key] == value


@given(st.lists(_names, min_size=1, max_size=4), st.integers() | st.booleans())
def test_override_reaches_exactly_its_path(path, value):
    tree = config.parse_override(f"{'.'.join(path)}={str(value).lower()}")
    for part in path:
        assert list(tree) == [part]
        tree = tree[part]
    assert tree == value and type(tree) is type(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_parse_of_anything_is_a_cart_or_a_config_error(data):
    try:
        assert isinstance(config.parse(Cart, data), Cart)
    except ConfigError as error:
        assert str(error)
