"""The table of the model-based walker, from walks made by hand."""

from dataclasses import replace

import eco_lipm

from robolearn.methods.eco.trial import Walk


def test_walks_that_fell_count_for_survival_alone():
    """A fall after a second of little power makes no walker cheap: 6 W at 5 kg and 0.1 m/s."""
    stood = Walk(24.0, False, 6.0, 5.0, 4.0, 9.0, (0.1, 0.0), 0.01, 0.01, 0.01, 60.0, 0.0, 0.01)
    fell = replace(stood, seconds=1.0, fallen=True, power=1.0, peak_force=200.0)
    line = eco_lipm.row("walk", 0.1, [stood, fell, stood], 5.0)
    assert line["survived"].startswith("2 of 3 (")
    assert line["power W"] == "6.00 +- 0.00"
    assert line["CoT"] == f"{6.0 / (5.0 * 9.81 * 0.1):.2f}"
    assert line["peak foot force N"] == "60"
    assert eco_lipm.row("walk", 0.1, [fell], 5.0)["power W"] == "nan +- nan"
