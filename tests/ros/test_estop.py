"""The emergency stop: several buttons, a node that is not active, a disk that is full for a while."""

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.duration import Duration
from stack import LIMIT, Stack
from std_msgs.msg import Bool
from test_refusals import Stranger

from robolearn_ros import qos


def button(stranger):
    return stranger.node.create_publisher(Bool, "estop", qos.LATCHED)


def test_one_button_does_not_release_another(tmp_path):
    with Stack(tmp_path, policy=None) as stack, Stranger() as first, Stranger() as second:
        stack.rest()
        mine, other = button(first), button(second)
        mine.publish(Bool(data=True))
        stack.wait("estop")
        other.publish(Bool(data=False))
        first.until(lambda: other.get_subscription_count() > 0)
        assert other.wait_for_all_acked(Duration(seconds=LIMIT))
        for _ in range(20):  # whatever the executor does first
            answer = stack.operator.request("reset", LIMIT)
            assert not answer.accepted and "estop" in answer.reason, answer
        mine.publish(Bool(data=False))
        stack.reset()


def test_a_press_and_release_at_once_stops(tmp_path):
    with Stack(tmp_path, policy=None) as stack, Stranger() as stranger:
        stack.stand()
        mine = button(stranger)
        mine.publish(Bool(data=True))
        stranger.until(lambda: mine.get_subscription_count() > 0)
        assert mine.wait_for_all_acked(Duration(seconds=LIMIT))  # a depth of 1 keeps the newest message only
        mine.publish(Bool(data=False))
        stack.wait("estop")
        stack.rest()


def test_a_stop_while_the_monitor_is_not_active_is_remembered(tmp_path):
    stack = Stack(tmp_path, policy=None)
    stack.start("safety_monitor", autostart=False)
    with stack, Stranger() as stranger:
        client = stranger.node.create_client(ChangeState, "safety_monitor/change_state")
        # As ``Operator`` does: the node can answer only whom it has found, and who found the last client found all.
        door, knocks = stranger.node.create_client(GetState, "safety_monitor/get_state"), []
        stranger.until(
            lambda: any(knock.done() for knock in knocks),
            lambda: knocks.append(door.call_async(GetState.Request())),
        )
        assert client.wait_for_service(LIMIT)

        def change(transition):
            future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
            stranger.until(future.done)
            assert future.result().success

        change(Transition.TRANSITION_CONFIGURE)
        obstacle = tmp_path / "estop.latch.new"  # nothing can be written there
        obstacle.mkdir()
        answer = stack.operator.request("estop", LIMIT)
        assert not answer.accepted and "cannot be written" in answer.reason
        obstacle.rmdir()
        stranger.until(lambda: (tmp_path / "estop.latch").exists())
        answer = stack.operator.request("estop", LIMIT)
        assert answer.accepted and "not active" in answer.reason
        change(Transition.TRANSITION_ACTIVATE)
        stack.wait("estop")
        stack.reset()
        assert not (tmp_path / "estop.latch").exists()


def test_a_stop_that_could_not_be_written_is_written_as_soon_as_that_is_possible(tmp_path):
    with Stack(tmp_path, policy=None) as stack, Stranger() as stranger:
        stack.rest()
        obstacle = tmp_path / "estop.latch.new"  # nothing can be written there
        obstacle.mkdir()
        stack.ask("estop")
        stack.wait("estop")
        stranger.until(lambda: any("cannot be written" in status.message for status in stranger.status.values()))
        assert not (tmp_path / "estop.latch").exists()
        obstacle.rmdir()
        stranger.until(lambda: (tmp_path / "estop.latch").exists())
        stranger.until(lambda: any(status.message == "written" for status in stranger.status.values()))
