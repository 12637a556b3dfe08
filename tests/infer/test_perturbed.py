"""Perturbed pictures as the model sees them: the same as if they lay on disk."""

from dataclasses import replace

from medr1.data.images import load_image
from medr1.data.perturbations import perturb
from medr1.data.roots import ImageRoot, resolve_image
from medr1.infer.engine import InferencePlan
from medr1.infer.local.engine import LocalEngine, predict
from medr1.infer.local.inputs import QuestionBuilder
from medr1.records import Decoding

QUICK = Decoding(max_new_tokens=12)


def test_a_picture_perturbed_in_memory_is_the_one_on_disk(tiny_model, validation, tmp_path):
    samples, perturbed, on_disk = [], {}, []
    ways = (None, ("gaussian_noise", 3), ("jpeg", 5), ("flip_horizontal", 1))
    for way in ways:
        for sample in validation.samples[:3]:
            if way:
                perturbed[len(samples)] = way
            samples.append(sample)
            image = load_image(resolve_image(sample.images[0], validation.image_root)).image
            path = tmp_path / f"{len(on_disk)}.png"
            (perturb(image, *way, 7) if way else image).save(path)
            on_disk.append(replace(sample, images=(path.name,)))
    found = {}
    plan = InferencePlan(
        batches=[[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]],
        image_root=validation.image_root,
        decoding=QUICK,
        perturbations=perturbed,
        seed=7,
    )
    for batch in LocalEngine(tiny_model).predict(samples, plan):
        found |= batch
    direct = predict(
        tiny_model, on_disk, image_root=ImageRoot(tmp_path), decoding=QUICK, batch_size=6
    )
    for index, expected in enumerate(direct):
        got = found[index]
        assert (got.model_output, got.error) == (expected.model_output, None)
        assert got.option_probs.keys() == expected.option_probs.keys()
        for answer, share in expected.option_probs.items():
            assert abs(got.option_probs[answer] - share) < 1e-5
        kind = perturbed.get(index)
        said = [note for note in got.image_notes if note.startswith("perturbed")]
        assert said == ([f"perturbed: {kind[0]}, severity {kind[1]}"] if kind else [])
    assert found[0].option_probs != found[3].option_probs


def test_one_image_is_made_once_for_each_way_it_is_shown(tiny_model, validation):
    sample = validation.samples[0]
    ways = {1: ("jpeg", 5), 2: ("jpeg", 5), 3: ("jpeg", 1)}
    plan = InferencePlan(
        batches=(), image_root=validation.image_root, decoding=QUICK, perturbations=ways
    )
    questions, failed = QuestionBuilder(tiny_model, plan).batch(range(4), [sample] * 4)
    pictures = [question.rows[0].images for question in questions]
    assert not failed and pictures[1] is pictures[2]
    assert len({id(picture) for picture in pictures}) == 3
