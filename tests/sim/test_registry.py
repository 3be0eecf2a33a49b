import pytest

from robolearn.config import ConfigError
from sim.registry import Registry


@pytest.fixture
def smell():
    registry = Registry("smell")

    @registry
    def flower(state, *, strength: float, petals: int = 5):
        """How it smells.

        More about it.
        """
        return state * strength + petals

    @registry
    def bread(state):
        """Fresh."""
        return state

    return registry


def test_terms_are_called_with_the_parameters_of_the_file(smell):
    assert smell.bind("flower", {"strength": 2}, "task.smells")(10.0) == 25.0
    assert smell.bind("flower", {"strength": 2, "petals": 1})(10.0) == 21.0
    assert smell.bind("bread", {})(3.0) == 3.0


def test_names_are_listed_in_order_with_their_first_line(smell):
    assert list(smell) == ["bread", "flower"]
    assert smell.summary("flower") == "How it smells."
    assert "bread" in smell
    assert "cheese" not in smell


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("flour", {}, r"task\.smells: unknown smell 'flour'\. Did you mean 'flower'\?"),
        ("flower", {"strenght": 1}, r"task\.smells\.flower: unknown key 'strenght'\. Did you mean 'strength'\?"),
        ("flower", {}, r"task\.smells\.flower\.strength: required entry is missing"),
        ("flower", {"strength": "much"}, r"task\.smells\.flower\.strength: expected a number"),
        ("flower", {"strength": 1, "petals": 1.5}, r"task\.smells\.flower\.petals: expected int"),
        ("bread", {"state": 1}, r"task\.smells\.bread: unknown key 'state'"),
    ],
)
def test_mistakes_are_named(smell, name, params, message):
    with pytest.raises(ConfigError, match=message):
        smell.bind(name, params, "task.smells")


def test_a_name_is_taken_once(smell):
    with pytest.raises(ConfigError, match="smell 'bread' is registered twice"):

        @smell
        def bread(state):
            """Stale."""


def test_a_term_must_say_what_it_is(smell):
    def silent(state):
        return state

    with pytest.raises(ConfigError, match="smell 'silent' has no docstring"):
        smell(silent)


def test_a_parameter_must_have_a_type(smell):
    @smell
    def cheese(state, *, age=1):
        """Strong."""

    with pytest.raises(ConfigError, match=r"cheese\.age: the parameter has no type hint"):
        smell.bind("cheese", {"age": 2})
