"""A policy node that misbehaves: answers as the real one until the parameter ``trouble`` says what to do wrong."""

import sys
import time
from dataclasses import replace

import numpy as np

from robolearn_ros import policy_node
from robolearn_ros.node import Parameter, main
from robolearn_ros.safety_monitor import PATIENCE

KINDS = ("", "nan_action", "nan_observation", "wild", "silent", "late", "garbage")


class FakePolicy(policy_node.PolicyNode):
    def __init__(self, **options):
        policy_node.PARAMETERS = (*policy_node.PARAMETERS, Parameter("trouble", "", f"one of {KINDS}", live=True))
        super().__init__(**options)

    def _answer(self, message):
        trouble = self.value("trouble")
        if trouble == "silent":
            return
        if trouble == "late":
            time.sleep(PATIENCE + 0.2)
        if trouble == "garbage":
            message.data = message.data[:-1]
        super()._answer(message)

    def setup(self):
        super().setup()
        real = self._runner.evaluate

        def evaluate(state, command, now):
            result, trouble = real(state, command, now), self.value("trouble")
            if trouble == "nan_action":
                return replace(result, action=np.full_like(result.action, np.nan))
            if trouble == "nan_observation":
                return replace(result, observation=np.full_like(result.observation, np.nan))
            if trouble == "wild":
                return replace(result, joint_target=result.joint_target + 3.0 * (-1) ** self._answered)
            return result

        self._runner.evaluate = evaluate


if __name__ == "__main__":
    sys.exit(main(FakePolicy))
