"""The field's benchmarks by name: how the files that their authors publish become items."""

BENCHMARK_NAMES = (
    *("vqa-rad", "slake", "path-vqa", "pmc-vqa", "omnimedvqa", "medxpertqa-mm", "mmmu-med"),
    *("medframeqa", "gmai-mmbench", "radimagenet-vqa", "vqa-med"),
)
"""The names that --benchmark takes: the keys of `names.BENCHMARKS`, which are read
without importing it."""
