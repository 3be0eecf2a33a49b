"""ECO: energy-constrained walking by constrained learning, and the methods that it is compared with."""

from robolearn.methods.eco.config import ConditioningConfig, ConstraintConfig, DualConfig, EcoConfig
from robolearn.methods.eco.method import EcoMethod

__all__ = ["ConditioningConfig", "ConstraintConfig", "DualConfig", "EcoConfig", "EcoMethod"]
