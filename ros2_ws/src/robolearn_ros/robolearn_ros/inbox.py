"""A subscription that its reader waits on in its own thread.

An executor goes through every service, timer and event of a node at each message, in Python, and then has to wake
another thread. That is too much for what passes a control loop hundreds of times a second; a wait set of one is not.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import rclpy
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

T = TypeVar("T")


class Inbox(Generic[T]):
    """The newest message of a topic. Call ``take`` from one thread only.

    Attributes:
        topic: its full name.
        skipped: how many messages were replaced by a newer one before they were taken.
    """

    def __init__(self, node: Node, kind: type[T], topic: str, profile: QoSProfile) -> None:
        """Subscribe on behalf of ``node``, through a hidden node that no executor knows."""
        self._node, self._kind, self._profile = node, kind, profile
        self.topic = node.resolve_topic_name(topic)
        self.skipped = 0
        # Arguments of the process are for the visible node; its remappings are in the resolved name already.
        self._hidden = rclpy.create_node(
            f"_{node.get_name()}_{topic.replace('/', '_')}", context=node.context, namespace=node.get_namespace(),
            use_global_arguments=False, enable_rosout=False, start_parameter_services=False,
        )  # fmt: skip
        self._subscription = self._hidden.create_subscription(kind, self.topic, lambda _: None, profile)
        assert node.context.handle is not None  # the node exists
        self._wait_set = rclpy_implementation.WaitSet(1, 0, 0, 0, 0, 0, node.context.handle)

    def take(self, timeout: float) -> T | None:
        """Return the newest message that came since the last call, waiting at most ``timeout`` s for one."""
        newest = self._next()
        if newest is None and timeout > 0.0:
            self._wait_set.clear_entities()
            self._wait_set.add_subscription(self._subscription.handle)
            self._wait_set.wait(int(timeout * 1e9))
            newest = self._next()
        if newest is None:
            return None
        while (newer := self._next()) is not None:
            newest = newer
            self.skipped += 1
        return newest

    def incompatible(self) -> str:
        """Return what is wrong with a publisher's quality of service, in words; empty when nothing is."""
        for endpoint in self._node.get_publishers_info_by_topic(self.topic):
            result, reason = qos_check_compatible(endpoint.qos_profile, self._profile)
            if result == QoSCompatibility.ERROR:
                sender = f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
                return f"{self.topic}: no message of {sender} will pass: {reason}"
        return ""

    def close(self) -> None:
        """Unsubscribe."""
        self._hidden.destroy_node()

    def _next(self) -> T | None:
        found = self._subscription.handle.take_message(self._kind, False)
        return None if found is None else found[0]
