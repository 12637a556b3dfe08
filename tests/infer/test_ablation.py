"""What is shown in the picture's place."""

from dataclasses import replace

import numpy as np
from PIL import Image

from medr1.infer.ablation import ablate, shuffle_images
from medr1.infer.local.engine import predict
from medr1.records import Decoding, Failure


def test_blank_and_noise_keep_the_size_and_nothing_else():
    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    assert ablate(picture, "none", "0") is picture
    blank = ablate(picture, "blank", "0")
    assert (blank.size, blank.getcolors()) == ((40, 30), [(1200, (128, 128, 128))])
    noise = [np.asarray(ablate(picture, "noise", seed)) for seed in ("0", "0", "1")]
    assert (noise[0] == noise[1]).all() and (noise[0] != noise[2]).any()
    assert noise[0].shape == (30, 40, 3) and 115 < noise[0].mean() < 140


def test_shuffling_moves_the_images_of_usable_items_only(validation):
    samples = validation.samples[:20]
    samples[3] = replace(samples[3], images=())
    questions = replace(
        validation, samples=samples, failures={3: Failure("no_image", "names no image")}
    )
    shuffled = shuffle_images(questions, 1).samples
    assert [replace(s, images=()) for s in shuffled] == [replace(s, images=()) for s in samples]
    assert sorted(s.images for s in shuffled) == sorted(s.images for s in samples)
    assert shuffled[3].images == () and shuffled != samples
    assert shuffle_images(questions, 1).samples == shuffled


def test_the_answers_change_with_the_picture_and_the_entry_says_so(tiny_model, validation):
    samples = [s for s in validation.samples if s.question_type == "Modality Recognition"][:12]
    said = {}
    for kind in ("none", "blank", "noise"):
        found = predict(
            tiny_model,
            samples,
            image_root=validation.image_root,
            decoding=Decoding("options", ablate_image=kind),
            batch_size=12,
        )
        said[kind] = [p.option_probs for p in found]
        noted = [any("ablated" in note for note in p.image_notes) for p in found]
        assert noted == [kind != "none"] * 12
    assert said["none"] != said["blank"] != said["noise"]
