"""Sim-to-sim transfer: how well an exported policy does in simulators that it was not trained in."""
