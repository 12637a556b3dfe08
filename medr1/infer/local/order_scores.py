"""The log-probability of a question's text with its options in several orders.

The text is part of the prompt. What stands before it, the images among it, is run once; the texts
of all orders are scored behind it in one pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from medr1.data.roots import ImageRoot
from medr1.errors import InputError
from medr1.infer.engine import InferencePlan
from medr1.infer.local.generation import BatchFeatures, prefill, score_strings
from medr1.infer.local.inputs import Question, QuestionBuilder, Row
from medr1.infer.plan import plan_batches
from medr1.models.loading import LoadedModel, control_tokens
from medr1.prompts import as_plain_text, chat_messages, problem_text
from medr1.records import Decoding, Failure, Sample

_PROMPT = "bare"
"""The question with its options and nothing else."""


def order_log_probabilities(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    orders: Mapping[int, Sequence[Sample]],
    image_root: ImageRoot,
    batch_size: int,
) -> tuple[dict[int, list[float]], dict[int, Failure]]:
    """Score the text of questions with their options in several orders.

    Args:
        loaded: The model; of a family whose prompts are run in batches.
        samples: The questions.
        orders: Position in `samples` -> the same question with its options in other orders.
        image_root: Where relative image paths start.
        batch_size: Most questions in a batch.

    Returns:
        Position -> the log-probability (natural logarithm) of the text with its own order, then
        with each other order. And position -> why a question could not be scored.
    """
    import torch

    positions = sorted(orders)
    chosen = [samples[position] for position in positions]
    batches = plan_batches(chosen, image_root, batch_size)
    decoding = Decoding(mode="options", max_new_tokens=1)
    plan = InferencePlan(batches, image_root, prompt=_PROMPT, decoding=decoding)
    builder = QuestionBuilder(loaded, plan)
    scores: dict[int, list[float]] = {}
    failures: dict[int, Failure] = {}
    for batch in batches:
        questions, failed = builder.batch(batch, chosen)
        failures |= {positions[index]: failure for index, failure in failed.items()}
        if not questions:
            continue
        texts = [[question.sample, *orders[positions[question.index]]] for question in questions]
        with torch.inference_mode():
            rows = _scores(loaded, questions, texts)
        scores |= {positions[q.index]: row for q, row in zip(questions, rows, strict=True)}
    return scores, failures


def _scores(
    loaded: LoadedModel, questions: Sequence[Question], orders: Sequence[Sequence[Sample]]
) -> list[list[float]]:
    rows, strings = [], []
    for question, samples in zip(questions, orders, strict=True):
        plain = [as_plain_text(s, control_tokens(loaded.processor)) for s in samples]
        row, tail = _split(loaded, question.rows[0], plain[0])
        rows.append(row)
        texts = [problem_text(sample) + tail for sample in plain]
        strings.append([_ids(loaded, text) for text in texts])
    prefix = prefill(loaded, rows, BatchFeatures(loaded, rows))
    return score_strings(loaded, prefix, [[]] * len(rows), strings)


def _split(loaded: LoadedModel, row: Row, sample: Sample) -> tuple[Row, str]:
    """The part of the prompt before the question's text, and the text that ends the user's turn.

    InputError if the chat template does not keep the question as it is.
    """
    style = loaded.info.answer_style
    prompt: str = loaded.processor.apply_chat_template(
        chat_messages(sample, _PROMPT, style), add_generation_prompt=True, tokenize=False
    )
    text = problem_text(sample)
    start = prompt.rfind(text)
    rest = _ids(loaded, prompt[start:])
    if start < 0 or row.token_ids[-len(rest) :] != rest:
        raise InputError(
            f"the chat template of {loaded.path.name} changes the question's text, so its "
            "probability cannot be computed."
        )
    return replace(row, token_ids=row.token_ids[: -len(rest)]), prompt[start + len(text) :]


def _ids(loaded: LoadedModel, text: str) -> list[int]:
    """The tokens of a text that follows the start of the prompt."""
    ids: list[int] = loaded.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
