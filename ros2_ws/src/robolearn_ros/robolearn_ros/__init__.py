"""ROS 2 nodes: they carry messages to ``robolearn.deploy`` and ``hardware`` and decide nothing themselves."""
