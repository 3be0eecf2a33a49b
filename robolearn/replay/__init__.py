"""Reads recordings of a robot: what happened, and what policy and controller would do with the same readings."""
