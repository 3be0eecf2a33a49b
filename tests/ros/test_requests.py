"""An operator's request that was refused because nobody answered in time is not carried out later."""

import queue
from types import SimpleNamespace

import pytest
from std_srvs.srv import Trigger

from robolearn.deploy.modes import Answer, Request
from robolearn_ros import safety_monitor
from robolearn_ros.safety_monitor import Asked, SafetyMonitorNode


class Monitor:
    """The two halves of the node that hand a request from one thread to the other, with a controller that notes it."""

    def __init__(self):
        self.heard, self.events = [], []
        self._asked, self._now, self._thread = queue.SimpleQueue(), 1.0, object()
        self._loop = SimpleNamespace(controller=SimpleNamespace(request=self.hear))
        self._publish_event = self.events.append

    def hear(self, request, now):
        self.heard.append(request)
        return Answer(True, f"now {request}")

    def serve(self, request):
        return SafetyMonitorNode._serve(self, request, Trigger.Request(), Trigger.Response())

    def turn(self):
        SafetyMonitorNode._answer_requests(self, self._now)


@pytest.fixture
def monitor(monkeypatch):
    monkeypatch.setattr(safety_monitor, "ANSWER_LIMIT", 0.01)
    return Monitor()


@pytest.mark.parametrize("request_", [r for r in Request if r not in (Request.STOP, Request.ESTOP)])
def test_a_request_without_an_answer_in_time_is_withdrawn(monitor, request_):
    """The operator was told that nothing happens, and may be beside the robot when the control loop comes back."""
    answer = monitor.serve(request_)
    assert not answer.success
    assert "does not answer" in answer.message
    monitor.turn()
    assert monitor.heard == monitor.events == []


@pytest.mark.parametrize("request_", [Request.STOP, Request.ESTOP])
def test_a_stop_counts_whenever_it_is_heard(monitor, request_):
    assert not monitor.serve(request_).success
    monitor.turn()
    assert monitor.heard == [request_]


def test_a_request_is_carried_out_or_withdrawn_never_both():
    asked = Asked(Request.STAND)
    assert asked.take()
    assert not asked.take()


def test_whoever_asked_is_answered_also_when_the_controller_fails(monitor):
    def fail(request, now):
        raise ArithmeticError("a fault of ours")

    monitor._loop.controller.request = fail
    asked = Asked(Request.STAND)
    monitor._asked.put(asked)
    with pytest.raises(ArithmeticError):
        monitor.turn()
    assert asked.answered.is_set() and not asked.answer.accepted and asked.answer.reason
