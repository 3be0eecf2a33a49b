"""The benchmark's episodes through the deployed ROS 2 nodes: whether they do what the benchmark measures."""
