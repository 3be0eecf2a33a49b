import signal

import pytest

from robolearn.deploy.stop_signal import StopSignal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_noted_and_ends_nothing_however_often_it_comes(number):
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert not stop.received
        for _ in range(3):
            signal.raise_signal(number)
        assert stop.received
    assert signal.getsignal(number) is before
