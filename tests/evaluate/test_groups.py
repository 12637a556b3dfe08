"""Groups: numbers in bins, and the order they are shown in."""

from medr1.evaluate.groups import bin_numbers, sort_groups
from medr1.evaluate.judging import CodedColumn


def test_many_numbers_are_put_into_bins():
    ages = CodedColumn.from_items([str(age) for age in range(20, 80)] + [None])
    bins, said = bin_numbers(ages)
    assert sort_groups(v for v in bins.values if v) == [
        "20 to 34", "35 to 49", "50 to 64", "65 to 79",
    ]  # fmt: skip
    assert bins.values[bins.codes[-1]] is None
    assert "60 different numbers" in said
    few = CodedColumn.from_items(["2", "10", "1", None])
    assert bin_numbers(few) == (few, None)
    words = CodedColumn.from_items([f"scanner {i}" for i in range(50)])
    assert bin_numbers(words) == (words, None)
    assert sort_groups(["10", "b", "2", "a", "1.5"]) == ["1.5", "2", "10", "a", "b"]
    same, _ = bin_numbers(CodedColumn.from_items(["1"] * 500 + [str(i) for i in range(2, 20)]))
    sizes = [int((same.codes == i).sum()) for i in range(len(same.values))]
    assert sum(sizes) == 518 and max(sizes) >= 500
