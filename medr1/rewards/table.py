"""The table of the rewards: `REWARDS`. A reward is added by an entry there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from medr1 import answers
from medr1.errors import InputError
from medr1.rewards.item import Item
from medr1.text import similarity


def _accuracy(item: Item) -> float | None:
    verdict = item.verdict()
    return None if verdict.undecided else float(verdict.correct)


def _similar(item: Item, measure: Callable[[str, str], float]) -> float:
    texts = item.texts()
    return measure(*texts) if texts else 0.0


def _semantic(item: Item) -> float:
    from medr1.metrics.sentence_similarity import pair_similarity

    return _similar(item, pair_similarity)


def _require_sentence_model() -> None:
    from medr1.metrics.sentence_similarity import model_folder

    model_folder()


def _consistency(item: Item) -> float:
    """1 for reasoning that concludes with the answer; 0 without reasoning or a conclusion."""
    from medr1.reasoning import consistency

    result = consistency(item.content, item.question, item.options, item.answer_type)
    return float(result is not None and result.outcome == "consistent")


def _no_contradiction(item: Item) -> float:
    """1 where `consistency` is 1 and no claim contradicts what is known of the item.

    The ground truth is left out: `accuracy` pays for it. Without `consistency`, a completion could
    earn this by saying nothing.
    """
    from medr1.claims import contradictions, known_of

    if not _consistency(item):
        return 0.0
    known = known_of(replace(item.sample(), ground_truth=None), item.verdict().extraction.answer)
    return float(not contradictions(item.content, known))


def _image_dependence(item: Item) -> float | None:
    """1 for a right answer that the model does not give without the image.

    A wrong answer has 0, so that an answer cannot earn it by being another one. Where the policy
    is right without the image, all completions of the group have 0, and nothing is learned.
    """
    if item.output_without_image is None:
        raise InputError(
            "the reward 'image-dependence' needs output_without_image, the completion for the same "
            "question without its image."
        )
    verdict = item.verdict()
    if verdict.undecided:
        return None
    own = verdict.extraction.answer
    blind = replace(item, content=item.output_without_image).verdict().extraction.answer
    if not verdict.correct or own is None:
        return 0.0
    is_same = blind is not None and answers.same_answer(
        blind, own, options=item.options, answer_type=item.answer_type
    )
    return float(not is_same)


def _format(item: Item, form: str) -> float:
    return float(answers.has_format(item.content, form))


def _overlong(item: Item, max_length: int, cache: int | None) -> float:
    if item.num_tokens is None:
        raise InputError("the reward 'soft-overlong' needs num_tokens, the tokens of a completion.")
    if cache is not None and cache > max_length:
        raise InputError(
            f"the reward 'soft-overlong' has cache={cache}, which is more than its "
            f"max_length={max_length}. Lower cache."
        )
    return overlong_score(item.num_tokens, max_length, cache)


def overlong_score(length: int, max_length: int, cache: int | None = None) -> float:
    """1 + DAPO's soft over-length punishment (arXiv 2503.14476, eq. 13).

    The constant 1 does not change the advantages, because the mean of the group is subtracted.

    Args:
        length: Tokens of the completion.
        max_length: Tokens from which the score is 0.
        cache: Tokens below `max_length` over which the score falls; None: a fifth of `max_length`,
            as in the paper.

    Returns:
        1 up to `max_length - cache`, then linear down to 0 at `max_length`.
    """
    return min(1.0, max(0.0, (max_length - length) / (cache or max_length / 5)))


@dataclass(frozen=True)
class Parameter:
    """A parameter of a reward. Users write `:name=value` after the name of the reward."""

    name: str
    kind: type[int] | type[float]
    description: str
    """A noun with what belongs to it, for `medr1 rewards --help`."""
    minimum: float
    default: float | None = None
    """The value if the user gives none."""
    training_setting: str = ""
    """The setting of a training run whose value is the default there; "" for none."""
    is_required: bool = False
    """Whether the reward cannot be computed if this has no value."""


@dataclass(frozen=True)
class Reward:
    """One reward of medr1, as the table `REWARDS` holds it."""

    description: str
    """When it is high, in one line, for `medr1 rewards --help`."""
    score: Callable[..., float | None]
    """Takes an `Item`, and each parameter by its name; returns a value in [0, 1]. None if the rules
    cannot judge the completion, which counts as 0."""
    parameters: tuple[Parameter, ...] = ()
    uses_prompt: bool = False
    """Whether it depends on the format that the prompt asks for, `Item.form`."""
    can_be_undecided: bool = False
    """Whether the share of completions that the rules cannot judge is logged in training."""
    column: str = ""
    """A further column that it reads, which only training makes; "" for none."""
    require: Callable[[], object] | None = None
    """Raises InputError where something that it needs is not installed; None if it needs nothing.
    A reward with this is computed only where it is asked for."""

    @property
    def needs_parameters(self) -> bool:
        """Whether it can only be computed with parameters, or in training."""
        return any(parameter.is_required for parameter in self.parameters)


REWARDS: dict[str, Reward] = {
    "accuracy": Reward(
        "1 if the answer is right, as in `medr1 eval`", _accuracy, can_be_undecided=True
    ),
    "format": Reward(
        "1 for the format that --prompt asks for",
        lambda item: _format(item, item.form),
        uses_prompt=True,
    ),
    "format-think": Reward("1 for reasoning, then the answer", lambda item: _format(item, "think")),
    "format-nothink": Reward("1 for the answer only", lambda item: _format(item, "nothink")),
    "format-think-after": Reward(
        "1 for the answer, then reasoning", lambda item: _format(item, "think-after")
    ),
    "accuracy-authors": Reward(
        "accuracy by the rules of Med-R1's training",
        lambda item: answers.authors_reward(item.content, item.solution),
        can_be_undecided=True,
    ),
    "format-authors": Reward(
        "format by the rules of Med-R1's training",
        lambda item: answers.authors_format(item.content, nothink=item.form == "nothink"),
        uses_prompt=True,
    ),
    "token-f1": Reward(
        "words that the answer shares with the right one",
        lambda item: _similar(item, similarity.token_f1),
    ),
    "edit-similarity": Reward(
        "similarity of the letters of the two answers",
        lambda item: _similar(item, similarity.edit_similarity),
    ),
    "option-similarity": Reward(
        "edit-similarity, and 0 for questions without options",
        lambda item: _similar(item, similarity.edit_similarity) if item.options else 0.0,
    ),
    "numeric-closeness": Reward(
        "closeness of the numbers in the two answers",
        lambda item: _similar(item, similarity.numeric_closeness),
    ),
    "semantic": Reward(
        "similarity of what the two answers mean",
        _semantic,
        require=_require_sentence_model,
    ),
    "consistency": Reward("1 for reasoning that concludes with the answer", _consistency),
    "no-contradiction": Reward(
        "consistency, and 0 if a claim contradicts the item", _no_contradiction
    ),
    "image-dependence": Reward(
        "1 for a right answer that is not given without image",
        _image_dependence,
        can_be_undecided=True,
        column="output_without_image",
    ),
    "soft-overlong": Reward(
        "1 for short completions, lower for long ones",
        _overlong,
        (
            Parameter(
                "max_length",
                int,
                "tokens from which it is 0",
                minimum=1,
                training_setting="max_completion_length",
                is_required=True,
            ),
            Parameter(
                "cache",
                int,
                "tokens below that over which it falls; by default a fifth",
                minimum=1,
            ),
        ),
    ),
}
"""Every reward of medr1 by its name."""

DEFAULT_REWARDS = tuple(
    name
    for name, reward in REWARDS.items()
    if not (reward.needs_parameters or reward.column or reward.require)
)
"""The names of the rewards that need no parameter, no further column and no extra package."""
