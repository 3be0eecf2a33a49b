"""The emergency-stop input of several buttons."""

from hypothesis import given
from hypothesis import strategies as st

from robolearn.deploy.estop import Buttons


def test_a_press_is_never_missed_however_short():
    buttons = Buttons()
    assert not buttons.read()
    buttons.press("a")
    buttons.release("a", {"a"})
    assert buttons.read() and not buttons.read()


def test_another_button_s_release_does_not_release_this_one():
    buttons = Buttons()
    buttons.press("a")
    buttons.release("b", {"a", "b"})
    assert buttons.read() and buttons.read()
    buttons.release("a", {"a", "b"})
    assert not buttons.read()


def test_a_pressed_button_that_vanished_counts_until_a_living_one_is_released():
    buttons = Buttons()
    buttons.press("a")
    assert buttons.read() and buttons.read()
    buttons.release("b", {"b"})
    assert not buttons.read()


def test_names_of_another_kind_release_nobody_else():
    """Some middleware names the sender of a message otherwise than the list of senders does."""
    buttons = Buttons()
    buttons.press("a")
    buttons.press("b")
    buttons.release("b", {"first", "second"})
    assert buttons.read() and buttons.read()
    buttons.release("a", {"first", "second"})
    assert not buttons.read()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_it_is_pressed_exactly_while_one_is(messages):
    buttons, down = Buttons(), {}
    for sender, pressed in messages:
        if pressed:
            buttons.press(sender)
        else:
            buttons.release(sender, set("abc"))
        down[sender] = pressed
        assert buttons.read() >= pressed  # at least once after a press
        assert buttons.read() == any(down.values())
