"""The metrics table: what is written is read, a resume cuts it, a kill does not damage it."""

import numpy as np

from robolearn.logging.csv_log import CsvLog, read_csv


def test_rows_are_read_back(tmp_path):
    log = CsvLog(tmp_path / "m.csv")
    log.write(1, {"reward": 0.5, "fps": 1e6})
    log.write(2, {"reward": 0.25, "fps": 3.0})
    table = read_csv(tmp_path / "m.csv")
    assert list(table) == ["iteration", "reward", "fps"]
    assert table["reward"].tolist() == [0.5, 0.25]
    assert table["iteration"].tolist() == [1, 2]


def test_a_new_metric_adds_a_column(tmp_path):
    log = CsvLog(tmp_path / "m.csv")
    log.write(1, {"a": 1.0})
    log.write(2, {"b": 2.0})
    log.write(3, {"a": 3.0, "b": 4.0})
    table = read_csv(tmp_path / "m.csv")
    np.testing.assert_array_equal(table["a"], [1, np.nan, 3])
    np.testing.assert_array_equal(table["b"], [np.nan, 2, 4])


def test_resume_cuts_rows_past_the_checkpoint_and_goes_on(tmp_path):
    log = CsvLog(tmp_path / "m.csv")
    for i in range(1, 6):
        log.write(i, {"a": float(i)})
    again = CsvLog(tmp_path / "m.csv", resume_from=3)
    again.write(4, {"a": 40.0})
    assert read_csv(tmp_path / "m.csv")["a"].tolist() == [1, 2, 3, 40]


def test_a_half_written_line_is_dropped(tmp_path):
    path = tmp_path / "m.csv"
    log = CsvLog(path)
    log.write(1, {"a": 1.0, "b": 2.0})
    with path.open("a") as file:
        file.write("2,0.1")
    assert read_csv(path)["iteration"].tolist() == [1]
    CsvLog(path, resume_from=10).write(2, {"a": 5.0, "b": 6.0})
    assert read_csv(path)["b"].tolist() == [2, 6]


def test_a_fresh_log_replaces_an_old_file_and_a_missing_one_is_empty(tmp_path):
    path = tmp_path / "m.csv"
    assert read_csv(path) == {}
    CsvLog(path).write(1, {"a": 1.0})
    CsvLog(path).write(1, {"a": 2.0})
    assert read_csv(path)["a"].tolist() == [2]


def test_resume_without_a_table_starts_one(tmp_path):
    CsvLog(tmp_path / "m.csv", resume_from=7).write(8, {"x,y": 1.0})
    assert read_csv(tmp_path / "m.csv")["x,y"].tolist() == [1]
