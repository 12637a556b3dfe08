"""Train domains by test domains: cells, gains, averages, marks, shared images."""

from dataclasses import replace

import numpy as np
import pytest

from medr1.data.items import with_id
from medr1.documents.matrix import SharedImages
from medr1.documents.metric import Clusters
from medr1.errors import InputError
from medr1.evaluate.comparing.matrix import matrix
from medr1.evaluate.judging import Settings
from medr1.records import Prediction, Sample, sample_id
from medr1.stats.intervals import bootstrap_mean, paired_difference

OPTIONS = {"A": "CT", "B": "MRI", "C": "X", "D": "Y"}
QUICK = Settings(num_resamples=500)


def results(rights, domain, image="{domain}/{i}.png"):
    """One prediction for each verdict; the items of a domain are the same in every file."""
    found = []
    for i, right in enumerate(rights):
        images = (image.format(domain=domain, i=i),)
        sample = Sample(f"q{i}", images, "Which?", OPTIONS, "A", "multiple_choice")
        found.append(Prediction(sample, "<answer>A</answer>" if right else "<answer>B</answer>"))
    return found


def row(image="{domain}/{i}.png", **rights):
    return {d: {f"{d}.json": results(r, d, image)} for d, r in rights.items()}


def verdicts(n, share):
    return [i < round(n * share) for i in range(n)]


def test_cells_gains_and_averages_by_hand():
    cells = {
        "CT": row(CT=verdicts(50, 0.9), MRI=verdicts(40, 0.5), US=verdicts(30, 0.4)),
        "MRI": row(CT=verdicts(50, 0.6), MRI=verdicts(40, 0.8), US=verdicts(30, 0.7)),
    }
    base = row(CT=verdicts(50, 0.5), MRI=verdicts(40, 0.5), US=verdicts(30, 0.6))
    found = matrix(cells, base, {}, settings=QUICK)
    assert found.schema == "medr1.matrix/2"
    assert (found.train_domains, found.test_domains) == (["CT", "MRI"], ["CT", "MRI", "US"])
    assert found.clusters["US"] == Clusters(unit="image", n=30)
    assert found.cells["CT"]["CT"].accuracy.value == pytest.approx(0.9)
    assert found.cells["CT"]["CT"].in_domain and not found.cells["CT"]["US"].in_domain
    gains = {(a, b): c.gain.value for a, r in found.cells.items() for b, c in r.items()}
    assert gains["CT", "CT"] == pytest.approx(0.4) and gains["CT", "US"] == pytest.approx(-0.2)
    averages = found.averages
    assert averages.in_domain.accuracy.value == pytest.approx((0.9 + 0.8) / 2)
    assert averages.out_of_domain.accuracy.value == pytest.approx((0.5 + 0.4 + 0.6 + 0.7) / 4)
    assert averages.out_of_domain.gain.value == pytest.approx((0 - 0.2 + 0.1 + 0.1) / 4)
    assert averages.rows["CT"].accuracy.value == pytest.approx(0.45)
    assert averages.rows["MRI"].accuracy.n == 2
    assert averages.columns["US"].accuracy.value == pytest.approx(0.55)
    assert averages.columns["CT"].gain.value == pytest.approx(0.1)
    assert found.reference_rows.base["CT"].value == 0.5
    assert found.reference_rows.chance["MRI"].value == 0.25
    assert not found.missing


def test_files_without_ids_whose_images_lie_in_other_folders():
    def without_ids(found):
        (rows,) = found["CT"].values()
        samples = [replace(p.sample, question="Which?", options=OPTIONS) for p in rows]
        hashed = [with_id(p.sample, sample_id(s)) for p, s in zip(rows, samples, strict=True)]
        return {
            "CT": {"CT.json": [replace(p, sample=s) for p, s in zip(rows, hashed, strict=True)]}
        }

    base = without_ids(row(CT=[1, 0, 0, 1]))
    moved = without_ids(row("moved/{i}.png", CT=[1, 1, 0, 1]))
    found = matrix({"CT": moved}, base, {}, settings=QUICK)
    assert found.paired_by == {"CT": "question and image name"}
    assert found.cells["CT"]["CT"].gain.value == pytest.approx(0.25)
    assert any(said.startswith("CT: the files do not have the same") for said in found.warnings)


def test_intervals_of_averages_are_those_of_independent_means():
    """Two test domains without common images: variances add, as the formula says."""
    rng = np.random.default_rng(0)
    a, b, c = rng.random(300) < 0.6, rng.random(200) < 0.4, rng.random(300) < 0.5
    cells = {"X": row(CT=a, MRI=b), "Y": row(CT=c)}
    settings = Settings(num_resamples=4000)
    found = matrix(cells, {}, {}, settings=settings).averages
    low, high = found.rows["X"].accuracy.ci95
    error = 1.96 * np.sqrt(a.var() / 300 + b.var() / 200) / 2
    assert (high - low) / 2 == pytest.approx(error, rel=0.06)
    # a column's cells share their images: as one mean of the items' averages
    expected = bootstrap_mean((a + c.astype(float)) / 2, range(300), num_resamples=4000)
    assert found.columns["CT"].accuracy.ci95 == pytest.approx(expected, abs=0.005)


def test_images_that_test_domains_share_are_drawn_together():
    """Two question types about the same images, answered alike: no narrower than one of them."""
    rng = np.random.default_rng(1)
    right = rng.random(150) < 0.6
    apart = matrix({"X": row(A=right, B=right)}, {}, {}, settings=QUICK)
    together = matrix({"X": row("{i}.png", A=right, B=right)}, {}, {}, settings=QUICK)
    width = [np.ptp(m.averages.rows["X"].accuracy.ci95) for m in (apart, together)]
    alone = np.ptp(bootstrap_mean(right, range(150)))
    assert width[0] == pytest.approx(alone / np.sqrt(2), rel=0.12)
    assert width[1] == pytest.approx(alone, rel=0.12)


def test_gain_and_marks():
    rng = np.random.default_rng(2)
    base = rng.random(200) < 0.5
    much, none = base | (rng.random(200) < 0.5), base
    cells = {"X": row(CT=much, MRI=none), "Y": row(CT=none, MRI=none)}
    found = matrix(cells, row(CT=base, MRI=base), {}, settings=QUICK).cells
    entry = found["X"]["CT"]
    value, _ = paired_difference(much, base, range(200))
    assert entry.gain.value == pytest.approx(value)
    assert entry.p_holm == pytest.approx(4 * entry.p) and entry.mark == "***"
    assert found["Y"]["MRI"].p_holm == 1 and found["Y"]["MRI"].mark == ""


def test_chance_alone_marks_few_matrices():
    """A matrix of nine cells without any gain has a mark in at most about 5 of 100."""
    rng = np.random.default_rng(3)
    marked, trials = 0, 60
    quickly = Settings(num_resamples=2)
    names = ("A", "B", "C")

    def drawn():
        return row(**{name: rng.random(60) < 0.5 for name in names})

    for _ in range(trials):
        found = matrix({name: drawn() for name in names}, drawn(), {}, settings=quickly)
        marked += any(c.mark for r in found.cells.values() for c in r.values())
    assert marked / trials <= 0.12


def test_missing_cells_and_bases_are_blank_and_said():
    cells = {"CT": row(CT=verdicts(40, 0.9)), "MRI": row(CT=verdicts(40, 0.5))}
    found = matrix(cells, row(MRI=verdicts(40, 0.5)), {}, settings=QUICK)
    assert found.missing == [("CT", "MRI"), ("MRI", "MRI")]
    assert found.cells["CT"]["CT"].gain.reason == "no base results"
    assert found.cells["CT"]["CT"].mark == ""
    assert found.averages.rows["CT"].accuracy.reason == "no such cells"
    single = found.averages.rows["MRI"].accuracy
    assert single.ci95 == found.cells["MRI"]["CT"].accuracy.ci95 and single.n == 1
    said = " ".join(found.warnings)
    assert "missing cells: 2 of 4" in said and "no gain, for: CT" in said
    assert "shared images were not looked for" in said


def test_shared_images_and_the_blind_row():
    cells = {name: row(CT=verdicts(40, 0.9), MRI=verdicts(40, 0.9)) for name in ("CT", "MRI")}
    train = [
        Sample(f"t{i}", (f"./CT/{i}.png",), "Which?", OPTIONS, "A", "multiple_choice")
        for i in range(7)
    ]
    found = matrix(cells, {}, {"CT": train}, settings=QUICK)
    assert found.cells["CT"]["CT"].shared_images == SharedImages(items=7, images=7)
    assert found.cells["CT"]["MRI"].shared_images == SharedImages(items=0, images=0)
    assert found.cells["MRI"]["CT"].shared_images is None
    blind = found.reference_rows.blind
    assert blind["CT"].value == 1.0 and "MRI" not in blind
    said = " ".join(found.warnings)
    assert "trained on: 1 of 4" in said and "not looked for in: MRI" in said
    with pytest.raises(InputError, match="'US', which is no domain here"):
        matrix(cells, {}, {"US": train}, settings=QUICK)


def test_seeds_of_a_cell():
    one, two = results(verdicts(40, 0.5), "CT"), results(verdicts(40, 0.7), "CT")
    found = matrix({"CT": {"CT": {"1": one, "2": two}}}, {}, {}, settings=QUICK)
    cell = found.cells["CT"]["CT"]
    assert cell.accuracy.value == pytest.approx(0.6) and cell.accuracy.n == 40
    assert cell.seeds.accuracies == [0.5, 0.7]


def test_a_test_domain_with_other_items_is_refused():
    cells = {"CT": row(CT=verdicts(40, 0.5)), "MRI": row(CT=verdicts(30, 0.5))}
    with pytest.raises(InputError, match=r"10 items .*trained on CT, tested on CT"):
        matrix(cells, {}, {}, settings=QUICK)
    found = matrix(cells, {}, {}, settings=QUICK, common_only=True)
    assert found.n == {"CT": 30}
    assert "CT: 10 items are in some files only" in " ".join(found.warnings)


def test_one_image_has_no_interval():
    found = matrix({"CT": row("one.png", CT=[1, 0, 1], MRI=[0, 1])}, {}, {}, settings=QUICK)
    accuracy = found.cells["CT"]["MRI"].accuracy
    assert accuracy.ci95 is None and accuracy.value == 0.5
