"""Simulation: engines, robots, tasks and the vectorised environment that joins them."""
