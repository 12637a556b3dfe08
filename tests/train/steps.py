"""Training steps on completions that are given, and the plain way to their log-probabilities.

The completions stand in for sampling alone: rewards, losses and updates are the trainer's own.
"""

import zlib
from dataclasses import dataclass, field, replace

import torch

from medr1.data.images import load_image
from medr1.data.readers import read_questions
from medr1.data.roots import ImageRoot, resolve_image
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.models.loading import load_model
from medr1.prompts import chat_messages
from medr1.records import Turn
from medr1.train.grpo import build_trainer
from medr1.train.settings import settings_from
from medr1.train.shared_prefix.groups import groups_to_rows

REWARDS = ("accuracy", "edit-similarity", "format")
STEP = {
    **{"rewards": REWARDS, "reward_weights": [1.0, 0.7, 0.5], "max_completion_length": 16},
    **{"num_generations": 4, "batch_size": 8, "max_steps": 2, "logging_steps": 1},
    **{"learning_rate": 0.05, "optim": "sgd", "lr_scheduler_type": "constant", "warmup_steps": 0},
    **{"max_grad_norm": 0.0, "save_strategy": "no", "beta": 0.0, "seed": 7},
}
EARLIER = Turn("user", "Is the image sharp?"), Turn("assistant", "Yes, it is sharp.")
SIZES = [(112, 112), (84, 140), (56, 56), (150, 60), (70, 200), (112, 84), (196, 112), (60, 60)]


def mixed_questions(folder, *, equal_sizes=False):
    """Eight questions of every answer type, one with two images, one with earlier turns."""
    kept = read_questions(tiny_vqa_folder() / "train.json")
    chosen, seen = [], set()
    for sample in kept.samples:
        if sample.options and sample.modality not in seen:
            seen.add(sample.modality)
            chosen.append(sample)
    counting = next(s for s in kept.samples if s.answer_type == "count")
    chosen = [*(chosen * 8)[:6], counting, counting]
    samples = []
    for number, (sample, size) in enumerate(zip(chosen, SIZES, strict=True)):
        picture = load_image(resolve_image(sample.images[0], kept.image_root)).image
        picture.resize((112, 112) if equal_sizes else size).save(folder / f"{number}.png")
        question = f"{number}: {sample.question}"
        samples.append(
            replace(sample, id=str(number), images=(f"{number}.png",), question=question)
        )
    samples[3] = replace(samples[3], images=("3.png", "0.png")) if not equal_sizes else samples[3]
    yes = {"options": {}, "answer_type": "yes_no", "ground_truth": "Yes"}
    samples[5] = replace(samples[5], history=EARLIER)
    samples[7] = replace(samples[7], question="7: Is this a picture of cells?", **yes)
    return replace(kept, samples=samples, failures={}, image_root=ImageRoot(folder))


def texts_for(questions):
    """What is answered, in turn: right and wrong answers, with and without tags, short and long."""
    golds = [s.options.get(s.ground_truth, s.ground_truth) for s in questions.samples]
    others = ("", golds[0], f"{golds[1]} <answer> {golds[2]}", " ".join(golds * 3))
    return [
        text
        for number, gold in enumerate(golds)
        for text in (f"<answer> {gold} </answer>", others[number % 4])
    ]


def completion(processor, texts, prompt_ids, number, max_length):
    """The tokens of a prompt's completion number so-and-so: the same in every run and process."""
    start = zlib.crc32(repr(list(prompt_ids)).encode())
    text = texts[(start + number) % len(texts)]
    ids = processor.tokenizer(text)["input_ids"] + [processor.tokenizer.eos_token_id]
    return ids[:max_length]


def give_completions(trainer, questions):
    """Makes the trainer take each prompt's completions from `completion` instead of sampling."""
    texts = texts_for(questions)

    def generate(prompt_ids, images, fields, num_generations, **_):
        first = trainer.accelerator.process_index * len(prompt_ids)
        numbers = [(first + row) % num_generations for row in range(len(prompt_ids))]
        given = [
            completion(trainer.processing_class, texts, ids, number, trainer.max_completion_length)
            for ids, number in zip(prompt_ids, numbers, strict=True)
        ]
        return given, None

    trainer._generate_single_turn = generate


def trainer_for(loaded, questions, folder, **changed):
    """A trainer on given completions, its settings those of STEP unless changed."""
    values = {**STEP, **changed}
    trainer = build_trainer(loaded, questions, settings_from(values, folder / "out"))
    give_completions(trainer, questions)
    return trainer


def fresh_model(**options):
    """The embedded model, to be trained."""
    return load_model(tiny_vl_folder(), device="cpu", **options)


@dataclass
class Step:
    """What one optimizer step started from, and what it came to."""

    weights: dict
    loss: float = 0.0
    gradients: dict = field(default_factory=dict)
    batches: list = field(default_factory=list)
    """The rows of each backward pass, as the trainer put them to the model."""


def run_steps(trainer):
    """Trains, and gives every optimizer step with its weights before, loss and gradients."""
    steps, one, loss_of = [], trainer.training_step, trainer._compute_loss
    passes = trainer.args.gradient_accumulation_steps

    def loss_and_batch(model, inputs):
        steps[-1].batches.append(as_rows(inputs))
        return loss_of(model, inputs)

    def step(model, *args, **named):
        if trainer._step % passes == 0:
            steps.append(Step({n: p.detach().clone() for n, p in model.named_parameters()}))
        loss = one(model, *args, **named)
        steps[-1].loss += float(loss)
        grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        steps[-1].gradients = grads
        return loss

    trainer.training_step, trainer._compute_loss = step, loss_and_batch
    trainer.train()
    return steps


def plain_inputs(loaded, questions, sample, completion_ids=()):
    """One prompt as the library's own processor makes it, a completion behind it, no padding."""
    messages = chat_messages(sample, "nothink", loaded.info.answer_style)
    text = loaded.processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )
    images = [load_image(resolve_image(name, questions.image_root)).image for name in sample.images]
    inputs = dict(loaded.processor(text=[text], images=[images], return_tensors="pt"))
    added = torch.tensor([list(completion_ids)], dtype=torch.long)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], added], 1)
    for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        more = torch.full_like(added, value)
        inputs[name] = torch.cat([inputs[name], more.to(inputs[name].dtype)], 1)
    return inputs


def plain_logps(loaded, questions, sample, completion_ids, temperature=1.0):
    """The log-probabilities of a completion's tokens in a forward pass of its own."""
    inputs = plain_inputs(loaded, questions, sample, completion_ids)
    logits = loaded.model(**inputs).logits[0, -len(completion_ids) - 1 : -1] / temperature
    chosen = torch.tensor(list(completion_ids))[:, None]
    return logits.log_softmax(-1).gather(-1, chosen)[:, 0]


def samples_of(loaded, questions):
    """The sample of each prompt's token ids, as the library's own processor makes them."""
    return {
        tuple(plain_inputs(loaded, questions, sample)["input_ids"][0].tolist()): sample
        for sample in questions.samples
    }


def as_rows(batch):
    """A batch with one row a completion, also where its prompts are shared."""
    return groups_to_rows(batch) if batch["prompt_ids"].ndim == 3 else batch


def rows_of(batch):
    """Each row of a batch as (prompt token ids, completion token ids), without padding."""
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    return [
        (tuple(prompt[seen.bool()].tolist()), words[said.bool()].tolist())
        for prompt, seen, words, said in zip(*(batch[name] for name in names), strict=True)
    ]
