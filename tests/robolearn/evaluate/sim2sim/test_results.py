import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.evaluate.sim2sim.results import Case, CaseResult, ResultFile

CASE = Case("walk", "pybullet", "friction", 0.4, ((3, 0), (3, 1), (4, 0)))
names = st.text("abcdefgh_", min_size=1, max_size=8)
values = st.lists(st.floats(allow_infinity=False), min_size=3, max_size=3).map(np.array)


@given(st.dictionaries(names, values, max_size=4), st.text(max_size=20), st.floats(0, 1e6))
def test_a_line_comes_back_as_it_was(measures, error, wall_s):
    result = CaseResult(CASE, measures, error, wall_s, {"versions": {"mujoco": "3.17.0"}})
    line = result.to_json()
    back = CaseResult.from_json(line)
    assert "\n" not in line
    assert (back.case, back.error, back.wall_s, back.details) == (CASE, error, wall_s, result.details)
    assert back.measures.keys() == measures.keys()
    for name, found in back.measures.items():
        np.testing.assert_array_equal(found, measures[name])


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", '{"case": 1, "measures": {}}', "null"])
def test_something_else_is_refused(line):
    with pytest.raises(ValueError, match="not a result of the transfer benchmark"):
        CaseResult.from_json(line)


def test_a_measure_for_another_number_of_experiments_is_refused():
    line = CaseResult(CASE, {"score": np.zeros(2)}).to_json()
    with pytest.raises(ValueError, match="'score' has 2 values for 3 experiments"):
        CaseResult.from_json(line)


def results(*seeds):
    return [CaseResult(Case("walk", "mujoco", "none", 0.0, ((seed, 0),)), {"score": np.array([0.5])}) for seed in seeds]


def test_a_file_that_is_not_there_has_no_results(tmp_path):
    assert list(ResultFile(tmp_path / "results.jsonl")) == []


def test_results_are_appended(tmp_path):
    file = ResultFile(tmp_path / "results.jsonl")
    file.append(results(1, 2))
    file.append(results(3))
    assert [result.case.experiments[0][0] for result in file] == [1, 2, 3]


@given(st.integers(0, 200))
def test_an_interruption_at_any_byte_costs_only_the_last_line(tmp_path_factory, missing):
    path = tmp_path_factory.mktemp("cut") / "results.jsonl"
    file = ResultFile(path)
    file.append(results(1, 2))
    content = path.read_bytes()
    last = len(content) - len(results(2)[0].to_json()) - 1
    path.write_bytes(content[: max(last, len(content) - missing)])
    whole = [1, 2] if missing == 0 else [1]
    assert [result.case.experiments[0][0] for result in file] == whole
    file.append(results(3))
    assert [result.case.experiments[0][0] for result in file] == [*whole, 3]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "results.jsonl"
    ResultFile(path).append(results(1))
    path.write_text("nonsense\n" + path.read_text())
    with pytest.raises(ValueError, match=r"results\.jsonl, line 1: not a result"):
        list(ResultFile(path))
