"""The benchmarks by name."""

from __future__ import annotations

from collections.abc import Mapping

from medr1.data.benchmarks import (
    gmai_mmbench,
    medframeqa,
    medxpertqa_mm,
    mmmu_med,
    omnimedvqa,
    path_vqa,
    pmc_vqa,
    radimagenet_vqa,
    slake,
    vqa_med,
    vqa_rad,
)
from medr1.data.benchmarks.benchmark import Benchmark

BENCHMARKS: Mapping[str, Benchmark] = {
    "vqa-rad": vqa_rad.BENCHMARK,
    "slake": slake.BENCHMARK,
    "path-vqa": path_vqa.BENCHMARK,
    "pmc-vqa": pmc_vqa.BENCHMARK,
    "omnimedvqa": omnimedvqa.BENCHMARK,
    "medxpertqa-mm": medxpertqa_mm.BENCHMARK,
    "mmmu-med": mmmu_med.BENCHMARK,
    "medframeqa": medframeqa.BENCHMARK,
    "gmai-mmbench": gmai_mmbench.BENCHMARK,
    "radimagenet-vqa": radimagenet_vqa.BENCHMARK,
    "vqa-med": vqa_med.BENCHMARK,
}
"""The name that --benchmark takes -> what is known of it."""
