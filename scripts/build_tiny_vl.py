"""Make an embedded model: a Qwen2.5-VL with about a million parameters, for GRPO in minutes.

    python scripts/build_tiny_vl.py --recipe text --output-dir checkpoints/tiny-vl
    python scripts/build_tiny_vl.py --recipe letters --output-dir checkpoints/tiny-vl-letters

The result is a base model for GRPO, not a finished model. Its vision tower recognizes the images
and its answers are well-formed, but the answers depend only weakly on the image. All stages read
only the training split:

0. Letter binding, for `letters` only. The language model learns, from text alone, which letter
   belongs to which option.
1. Vision alignment, with all true labels. The vision tower learns: its mean output for an image
   becomes similar to the language model's embedding of the right answers, and unlike those of the
   other answers of the question type (a contrastive loss). The language model is not trained.
2. Weak supervised fine-tuning. The vision tower is frozen. The language model learns to answer in
   three manners; many labels are replaced by a random option of the question.

Each stage ends after a number of steps or at an accuracy, not after a time. So on one machine, one
seed and one thread always give the same weights.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny_vl_binding import bind_letters
from tiny_vl_card import checkpoint_notes, model_card
from tiny_vl_model import build_model, build_processor
from tiny_vl_pictures import TinyImages
from tiny_vl_probes import probe_answers, probe_vision
from tiny_vl_recipe import RECIPES, Recipe
from tiny_vl_stages import Batches, Concepts, align_vision, tune_language
from tiny_vl_training import report
from transformers import Qwen2_5_VLProcessor

from medr1.checkpoints.integrity import write_checksums
from medr1.data.readers import read_questions
from medr1.files import sha256_of, write_atomic


def build(
    train: Path, validation: Path, recipe: Recipe
) -> tuple[Any, Qwen2_5_VLProcessor, dict[str, Any]]:
    """Train a model; the model, its processor, and its measurements on the validation split."""
    splits = {"train": read_questions(train), "validation": read_questions(validation)}
    training_samples, validation_samples = (
        questions.require_complete() for questions in splits.values()
    )
    processor = build_processor(training_samples, recipe)
    model = build_model(processor.tokenizer, recipe)
    report(f"{model.num_parameters():,} parameters, {len(processor.tokenizer)} tokens")
    probes: dict[str, Any] = {}
    if recipe.binding:
        probes["binding_steps"] = bind_letters(
            model, processor, training_samples, recipe, recipe.binding
        )
    images, validation_images = (
        TinyImages(processor, questions.image_root.path, (s.images[0] for s in questions.samples))
        for questions in splits.values()
    )
    concepts = Concepts(model, processor.tokenizer, training_samples)
    align_vision(model, images, concepts, recipe)
    probes["vision"] = probe_vision(
        model, validation_images, concepts.with_labels(validation_samples)
    )
    report(f"vision alone, validation: {probes['vision']}")
    tune_language(
        model, Batches(processor, images, recipe), training_samples, concepts.names, recipe
    )
    probes |= probe_answers(
        model, Batches(processor, validation_images, recipe), validation_samples, recipe.seed
    )
    return model, processor, probes


def save(
    folder: Path, model: Any, processor: Any, notes: str, card: str, *, overwrite: bool
) -> None:
    """Write the checkpoint to a folder beside the target, then rename that folder."""
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    model.save_pretrained(building)
    processor.save_pretrained(building)
    write_atomic(building / "medr1.json", notes)
    write_atomic(building / "README.md", card)
    write_checksums(building)
    if overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    building.rename(folder)


def main() -> None:
    """Build a model, measure it, and save it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    data = Path(__file__).resolve().parent.parent / "data" / "tiny_vqa_ds"
    parser.add_argument(
        "--recipe", choices=sorted(RECIPES), default="text", help="how the model answers"
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--data", type=Path, default=data / "train.json", help="file with training questions"
    )
    parser.add_argument(
        "--validation-data",
        type=Path,
        default=data / "validation.json",
        help="file with validation questions",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and the training")
    parser.add_argument("--threads", type=int, default=1, help="number of processor threads")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing folder")
    options = parser.parse_args()
    folder: Path = options.output_dir.resolve()
    if folder.exists() and not options.overwrite:
        sys.exit(f"{folder} exists. Give --overwrite, or another --output-dir.")
    torch.set_num_threads(options.threads)
    started = time.monotonic()
    recipe = replace(RECIPES[options.recipe], seed=options.seed)
    model, processor, probes = build(options.data, options.validation_data, recipe)
    for name, value in probes.items():
        report(f"{name}: {value}")
    notes = checkpoint_notes(options.data, recipe, probes)
    card = model_card(folder.name, options.recipe, recipe, probes, model.num_parameters())
    save(folder, model, processor, notes, card, overwrite=options.overwrite)
    report(f"{sha256_of(folder / 'model.safetensors')} {folder}/model.safetensors")
    report(f"done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
