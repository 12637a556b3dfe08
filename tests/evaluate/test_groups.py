"""Groups: numbers in bins, and the order they are shown in."""

from medr1.evaluate.groups import binned, in_order
from medr1.evaluate.judging import Coded


def test_many_numbers_are_put_into_bins():
    ages = Coded.of([str(age) for age in range(20, 80)] + [None])
    bins, said = binned(ages)
    assert in_order(v for v in bins.values if v) == [
        "20 to 34", "35 to 49", "50 to 64", "65 to 79",
    ]  # fmt: skip
    assert bins.values[bins.codes[-1]] is None
    assert "60 different numbers" in said
    few = Coded.of(["2", "10", "1", None])
    assert binned(few) == (few, None)
    words = Coded.of([f"scanner {i}" for i in range(50)])
    assert binned(words) == (words, None)
    assert in_order(["10", "b", "2", "a", "1.5"]) == ["1.5", "2", "10", "a", "b"]
    same, _ = binned(Coded.of(["1"] * 500 + [str(i) for i in range(2, 20)]))
    sizes = [int((same.codes == i).sum()) for i in range(len(same.values))]
    assert sum(sizes) == 518 and max(sizes) >= 500
