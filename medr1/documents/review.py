"""review.json, the document of `medr1 review summary`, and what summary.json has of it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from medr1.documents.metric import Metric


class ReaderReview(Struct, frozen=True, kw_only=True):
    """What one reader did."""

    name: str
    n_judged: int
    """Number of cases that the reader judged, repeated ones counted once."""
    n_skipped: int
    n_repeated: int
    """Number of cases that the reader judged twice."""
    median_seconds: float | None
    """Median time for a case; None where none was judged."""


class QuestionAgreement(Struct, frozen=True, kw_only=True):
    """How far readers agree on one question of the rubric.

    n of the metrics counts cases. Intervals are bootstraps over what cases share, such as images.
    """

    counts: dict[str, int]
    """Answer -> how often it was chosen at the first look at a case."""
    krippendorff_alpha: Metric
    """Between readers; the order of the answers counts."""
    fleiss_kappa: Metric
    gwet_ac1: Metric
    cohen_kappa: Metric
    """With quadratic weights; no value unless there are two readers."""
    within_readers: Metric
    """Krippendorff's alpha of the first and the second look of the same reader at a case."""


class ReviewedKind(Struct, frozen=True, kw_only=True):
    """One kind of items: a stratum of the sample."""

    n_items: int
    n_cases: int
    """Number of sampled items."""
    n_judged: int
    """Number of cases with an answer to the question whether the model is right."""
    expert_mean: float | None
    """Mean of the experts' verdicts, 0 (no), 0.5 (partly) to 1 (yes); None without any."""


class DisputedCase(Struct, frozen=True, kw_only=True):
    """A case on which readers gave different answers to a question: one for adjudication."""

    item_id: str
    question: str
    """Key of the question of the rubric."""
    ratings: dict[str, str]
    """Reader -> answer."""


class PreferenceSummary(Struct, frozen=True, kw_only=True):
    """Which of two models' answers the readers prefer, at their first look at a case."""

    models: list[str]
    """Names of the first (a) and the second (b) model; "" where the results have none."""
    unpaired: list[int]
    """Number of items of each file that the other one lacks; they were left out."""
    counts: dict[str, int]
    """a, b, both (good) or neither -> how often it was chosen."""
    n_undecided: int
    """Number of judged cases on which neither answer is preferred by more readers."""
    first_preferred: Metric
    """The share of the other judged cases on which more readers prefer the first model."""
    p_value: float | None
    """Of the sign test that neither model is preferred; None where nothing was judged. Cases that
    share an image (or another cluster) count as one."""
    first_preferred_all_items: Metric
    """The mean over all items of the readers' preference, 1 for the first model, 0 for the second,
    one half for both or neither: each kind of items counts with its share of all items."""


class RuleOfType(Struct, frozen=True, kw_only=True):
    """The automatic verdict on items of one answer type, against the experts'."""

    n_items: int
    n_judged: int
    precision: Metric
    recall: Metric


class ConfidenceBin(Struct, frozen=True, kw_only=True):
    """Items of similar confidence, and what experts say of them.

    Both means are those of all items of the bin: judged items are weighted by the rates of the
    sample.
    """

    low: float
    """Lowest confidence of an item of the bin."""
    high: float
    """Highest one."""
    n_items: int
    mean_confidence: float
    expert_accuracy: Metric
    """The share that experts call right; partly right ones count one half. n counts judged ones."""


class RuleCheck(Struct, frozen=True, kw_only=True):
    """How the automatic verdict and the model's confidence relate to what experts say.

    All are estimates for all items: judged items are weighted by the rates of the sample.
    """

    precision: Metric
    """The share of answers that the rule calls right which experts call right."""
    recall: Metric
    """The share of answers that experts call right which the rule calls right."""
    confidence_auroc: Metric
    """The probability that an answer that experts call right has a higher confidence than one that
    they call wrong; 0.5 is chance."""
    by_answer_type: dict[str, RuleOfType] = {}
    """Answer type of items -> the rule's precision and recall on them; empty in older files."""
    calibration: list[ConfidenceBin] = []
    """Items in bins of rising confidence; empty where none has a confidence, and in older files."""


class SecondModel(Struct, frozen=True, kw_only=True):
    """The second of two models that a review compares; the document has the same of the first.

    The cases are sampled by the verdicts on the first model, which all these numbers correct.
    """

    automatic_accuracy: Metric
    corrected_accuracy: Metric
    rule: RuleCheck


class AdjudicationCounts(Struct, frozen=True, kw_only=True):
    """The second round, in which an adjudicator decides the cases on which readers differ."""

    adjudicators: list[str]
    n_cases: int
    """Number of cases of the second round."""
    n_judged: int
    """Number of them that are judged."""
    n_undecided: int
    """Number of judged cases of the first round that have neither an adjudicated answer nor a
    majority about whether the model is right."""


class ReviewSummary(Struct, frozen=True, kw_only=True):
    """The content of review.json."""

    schema: Literal["medr1.review_summary/1"] = "medr1.review_summary/1"
    results_sha256: str
    """Hash of the results file."""
    n_items: int
    n_cases: int
    readers: list[ReaderReview]
    questions: dict[str, QuestionAgreement]
    """Key of a question of the rubric -> agreement."""
    kinds: dict[str, ReviewedKind]
    automatic_accuracy: Metric
    """The share of all items that the automatic verdict calls right."""
    corrected_accuracy: Metric
    """The accuracy that experts would find on all items (`stats.prediction_powered`)."""
    preference: PreferenceSummary | None = None
    """Of a review that compares two models."""
    disputed: list[DisputedCase]
    """Cases on which readers differ, those of the first question of the rubric first."""
    adjudication: AdjudicationCounts | None = None
    """The second round; None without one. Agreement is that of the first round, and the corrected
    accuracy that of the final answers: the adjudicated one, else that of the majority, else the
    mean of the readers."""
    rule: RuleCheck | None = None
    """The automatic verdict against the experts'; None in older files."""
    second_model: SecondModel | None = None
    """Of a review that compares two models. `kinds`, both accuracies and `rule` are about the first
    one."""


class ExpertReview(Struct, frozen=True, kw_only=True):
    """What summary.json has of a review of its results, without the names of the readers."""

    n_cases: int
    """Number of sampled items."""
    n_judged: int
    """Number of cases with an answer to the question whether the model is right."""
    n_readers: int
    is_simulated: bool = False
    """Whether the readers are simulated (`review.simulated_panel`), and no expert has judged."""
    n_adjudicated: int | None
    """Number of cases that an adjudicator decided; None without a second round."""
    protocol: str | None
    """The protocol of the automatic verdict that was reviewed; None where the store has none."""
    questions: dict[str, QuestionAgreement]
    """Key of a question of the rubric -> agreement."""
    automatic_accuracy: Metric
    """The share of all items that the automatic verdict calls right."""
    corrected_accuracy: Metric
    """The accuracy that experts would find on all items (`stats.prediction_powered`)."""
    rule: RuleCheck | None
