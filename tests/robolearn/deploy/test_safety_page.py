"""docs/safety.md says what the code does: its table of checks and its example."""

import re
from pathlib import Path

from robolearn.deploy.checks import CHECKS, DRIVEN_ONLY, POLICY_ONLY
from robolearn.deploy.controller import Controller
from robolearn.deploy.latch import Latch
from robolearn.deploy.modes import TRANSITIONS, Mode, Request

from .kit import Rig

PAGE = (Path(__file__).parents[3] / "docs" / "safety.md").read_text(encoding="utf-8")


def rows():
    for reason, judged in CHECKS.items():
        where = "POLICY" if reason in POLICY_ONLY else "STAND, READY, POLICY" if reason in DRIVEN_ONLY else "always"
        unit = f" ({judged.unit})" if judged.unit else ""
        yield f"| `{reason}` | {judged.what}{unit} | {judged.reaction} | {where} |"


def test_the_table_of_checks_is_that_of_the_code():
    table = re.search(r"<!-- checks.*?\n\|.*?\n\|.*?\n(.*?)<!-- end -->", PAGE, re.S)[1]
    assert table.strip().splitlines() == list(rows())


def test_the_diagram_shows_the_transitions():
    drawn = {(Mode(a.lower()), Mode(b.lower())) for a, b in re.findall(r"^    ([A-Z]+) --> ([A-Z]+)", PAGE, re.M)}
    table = {(mode, to) for mode, row in TRANSITIONS.items() for trigger, to in row.items() if to is not Mode.ESTOP}
    assert drawn == table - {(Mode.DAMPING, Mode.DAMPING)}  # what stays as it is need not be drawn
    assert all(TRANSITIONS[mode][Request.ESTOP] is Mode.ESTOP for mode in Mode)


def test_the_example_runs(tmp_path):
    code = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]
    rig, sent = Rig(), []
    ticks = iter([True, True, True, False])

    def now():
        rig.now += 0.01
        return rig.now

    exec(
        code,
        {
            "Latch": Latch, "Controller": Controller, "robot": rig.robot, "policy": rig.policy,
            "latch_path": tmp_path / "estop", "running": lambda: next(ticks), "read_state": lambda: None,
            "read_policy": lambda: None, "read_inputs": lambda: rig.inputs(estop=len(sent) == 1), "now": now,
            "send": sent.append, "log": print,
        },
    )  # fmt: skip
    assert len(sent) == 3
    assert Latch(tmp_path / "estop").is_set()
