"""Parquet files with values that Python has no place for: a sentence with row and column."""

import pyarrow
import pyarrow.parquet
import pytest

from medr1.data.readers import read_questions
from medr1.data.tables import table_rows
from medr1.errors import InputError
from medr1.evaluate.reading.results import read_results

LARGEST_DAY = pyarrow.array([0, 2**31 - 1], pyarrow.int32()).cast(pyarrow.date32())
NOT_UTF8 = pyarrow.Array.from_buffers(
    pyarrow.string(),
    2,
    [
        None,
        pyarrow.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0])),
        pyarrow.py_buffer(b"a\xff\xfeb"),
    ],
)
TWO_OF_A_NAME = pyarrow.StructArray.from_arrays(
    [pyarrow.array([1, 2]), pyarrow.array([3, 4])], names=["a", "a"]
)


def write(path, **columns):
    table = {
        "id": ["1", "2"],
        "image": ["a.png", "b.png"],
        "question": ["q A)x, B)y"] * 2,
        "ground_truth": ["A", "B"],
        "model_output": ["A", "B"],
    }
    pyarrow.parquet.write_table(pyarrow.table({**table, **columns}), path)


@pytest.mark.parametrize(
    ("name", "column", "row"),
    [
        ("taken", pyarrow.array([0, 2**61], pyarrow.timestamp("us")), 2),
        ("taken", pyarrow.array([0, 2**61], pyarrow.timestamp("ms")), 2),
        ("taken", pyarrow.array([0, 1], pyarrow.timestamp("ms", tz="Mars/Phobos")), 1),
        ("taken", LARGEST_DAY, 2),
        ("taken", pyarrow.array([0, 86400000 * 10**9], pyarrow.date64()), 2),
        ("lasted", pyarrow.array([0, 2**62], pyarrow.duration("ms")), 2),
        ("note", NOT_UTF8, 2),
        ("question", NOT_UTF8, 2),
        ("model_output", NOT_UTF8, 2),
        ("nested", TWO_OF_A_NAME, 1),
    ],
)
@pytest.mark.parametrize("read", [read_questions, read_results])
def test_a_value_without_a_place_is_named_by_row_and_column(name, column, row, read, tmp_path):
    write(tmp_path / "t.parquet", **{name: column})
    with pytest.raises(InputError) as refused:
        results = read(tmp_path / "t.parquet")
        assert results.predictions  # a file of results is read as it is asked for
    assert f"t.parquet, row {row}, column {name!r}" in str(refused.value)


def test_rows_are_counted_through_the_file():
    table = pyarrow.table({"note": NOT_UTF8})
    with pytest.raises(InputError, match="row 4002, column 'note'"):
        table_rows(table, "t.parquet", first=4001)


def test_values_that_have_a_place_are_read():
    columns = {"a": [1.5, float("nan")], "b": [None, "é"], "c": [[1], []], "d": [{"x": 1}, None]}
    assert table_rows(pyarrow.table(columns), "t.parquet") == [
        {"a": 1.5, "b": None, "c": [1], "d": {"x": 1}},
        {"a": None, "b": "é", "c": [], "d": None},
    ]
