import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[3] / "docs" / "adapters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_examples_run(number):
    scope = {}
    exec(BLOCKS[number], scope)
    assert scope.get("model") is None or scope["model"].num_timesteps == 384
    assert "obs" not in scope or scope["obs"].shape[-1] == 45


def test_there_are_examples():
    assert len(BLOCKS) == 3
