"""summary.json, the document of `medr1 eval`: everything that it computes of one results file.

The parts on calibration, abstention, repeated samples, dropout and ensembles are in `trust`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from medr1.documents.hallucination import Hallucination
from medr1.documents.judge import JudgeResult
from medr1.documents.metric import Clusters, Intervals, Metric, Missing
from medr1.documents.protocols import ProtocolRow
from medr1.documents.reasoning import ReasoningChecks
from medr1.documents.reasoning_use import ReasoningUse
from medr1.documents.review import ExpertReview
from medr1.documents.robustness import Robustness
from medr1.documents.trust import (
    Calibration,
    Dropout,
    Ensemble,
    Selective,
    TokenUncertainty,
    Uncertainty,
)


class Group(Struct, frozen=True, kw_only=True):
    """One group of items, such as those of one modality."""

    n: int
    n_unparsed: int
    metrics: dict[str, Metric]
    """Metric -> its value here; metrics of no item are left out."""


class Macro(Struct, frozen=True, kw_only=True):
    """The unweighted means over the groups of one kind."""

    accuracy: Metric
    """Its n is the number of groups."""
    metrics: dict[str, Metric]
    """Metric -> its mean over the groups; none for metrics that are no means over items."""


class Undecided(Struct, frozen=True, kw_only=True):
    """Answers that the rules cannot judge."""

    reasons: dict[str, int]
    """Reason -> number of items, the most frequent first."""
    coverage: Metric
    """The share of the answers that can be judged."""


class ConfusionCell(Struct, frozen=True, kw_only=True):
    """How often one answer was given for one ground truth."""

    ground_truth: str
    predicted: str | None
    """None for items without an answer."""
    count: int


class Contradictions(Struct, frozen=True, kw_only=True):
    """How many wrong answers to open questions contradict the ground truth."""

    n: int
    """Number of wrong open answers."""
    polarity: int
    """Those that say the opposite, such as "no effusion" for "effusion"."""
    side: int
    """Those that name the other side of the body."""


class FindingMetrics(Struct, frozen=True, kw_only=True):
    """How well one finding is detected: a yes/no question, or the text of an option."""

    finding: str
    positive: str
    """The answer that means that the finding is there: "yes", or the option's text."""
    n: int
    n_positive: int
    n_unanswered: int
    prevalence: Metric
    sensitivity: Metric
    specificity: Metric
    ppv: Metric
    npv: Metric


class Length(Struct, frozen=True, kw_only=True):
    """The distribution of the completions' lengths."""

    n: int
    mean: float
    median: float
    p95: float
    """The 95th percentile."""
    max: int
    histogram: list[tuple[float, float, int]]
    """Bins as (low, high, number of completions)."""


class Lengths(Struct, frozen=True, kw_only=True):
    """How long the completions are; None where the file does not say."""

    num_tokens: Length | None
    characters: Length | None


class Blind(Struct, frozen=True, kw_only=True):
    """Baselines that do not see the image, on the items with options."""

    chance: float | None
    """The accuracy of random guessing."""
    option_prior: Metric
    best_predictor: str | None
    best: Metric
    """The accuracy of `best_predictor`."""
    image_gain: Metric
    """The model's accuracy minus that of `best_predictor`."""
    image_needed: Metric
    """The model's accuracy on the items that need their image."""
    predictors: dict[str, Metric]


class ImageAblation(Struct, frozen=True, kw_only=True):
    """The same model on the same questions without their images."""

    results: str
    """The file of the answers without images."""
    ablation: str
    """What replaced the images: blank, noise or shuffle."""
    paired_by: str
    accuracy_without_image: Metric
    ablation_gain: Metric
    """Accuracy with the images minus accuracy without them."""
    visual_reliance: Metric | UnsetType = UNSET
    """The same number by its name in the literature. The key is there only for shuffle."""
    same_answer: Metric
    """The share of the items with the same answer."""
    image_sensitivity: Metric
    """The share of the items whose answer changes without the image."""
    visual_claims: Metric
    """The share of the items whose completion with the image claims to see something in it."""
    hallucinated_visual_reasoning: Metric
    """The share of the items with such a claim and the same answer without the image."""


class StatedAccuracy(Struct, frozen=True, kw_only=True):
    """The accuracy that the original project's script wrote into the file, beside ours."""

    value: float
    protocol: str
    computed: float | None
    """The accuracy that medr1 computes under the same protocol."""


class ProtocolDifference(Struct, frozen=True, kw_only=True):
    """Why items that are right under the protocol `default` are wrong under another."""

    n_right: int
    """Number of items that are right under `default`."""
    reasons: dict[str, int]
    """Why the other protocol calls some of them wrong -> number of items, the largest first:
    no_block (there is no <answer>...</answer>), several_blocks, unreadable_block (its content is
    not what the protocol reads), other_answer, undecided."""


class Summary(Struct, frozen=True, kw_only=True):
    """summary.json: the evaluation of one results file."""

    schema: Literal["medr1.summary/2"] = "medr1.summary/2"
    results: str | None = None
    """The results file."""
    sha256: str | None = None
    """SHA-256 of the results file."""
    meta: dict[str, object] = {}
    """How the results were made, as the file states it."""
    date: str | UnsetType = UNSET
    """When the run started, in ISO 8601: from the record that `medr1 infer` writes beside the
    results, else the `date` of the file. The key is there only if one of them states it."""
    protocol: str
    n: int
    n_error: int
    n_unparsed: int
    n_refused: int
    n_undecided: int
    n_truncated: int
    clusters: Clusters
    intervals: Intervals
    metrics: dict[str, Metric]
    groups: dict[str, dict[str, Group]]
    """Kind, such as modality -> group -> its metrics."""
    macro: dict[str, Macro]
    """Kind -> means over its groups."""
    protocols: dict[str, Metric]
    """Further protocol -> accuracy under its rules."""
    protocol_differences: dict[str, ProtocolDifference] = {}
    """Further protocol -> why it calls items wrong that are right under `default`; a protocol that
    does not is left out."""
    protocol_rows: dict[str, ProtocolRow] | UnsetType = UNSET
    """Protocol -> what it gives, and how that differs from `default`. The key is there only with
    --protocol all."""
    extraction_methods: dict[str, int]
    """How answers were extracted -> number of items."""
    unanswered: dict[str, int]
    """Why there is no answer -> number of items."""
    undecided: Undecided
    confusion: list[ConfusionCell]
    confusion_text: list[ConfusionCell]
    """The same with the texts of the options instead of their letters."""
    contradictions: Contradictions
    hallucination: Hallucination | UnsetType = UNSET
    """The key is there only if claims were checked, which --metrics skips."""
    findings: list[FindingMetrics]
    lengths: Lengths
    blind: Blind | None
    """None without training questions."""
    image_ablation: ImageAblation | None = None
    """The first file of --ablated."""
    further_ablations: list[ImageAblation] = []
    """The other files of --ablated, such as one with shuffled images beside one with grey ones."""
    calibration: Calibration | Missing
    selective: Selective | Missing
    uncertainty: Uncertainty | Missing
    dropout: Dropout | Missing
    ensemble: Ensemble | None = None
    robustness: Robustness | None = None
    calibrate_on: str | None = None
    """The results on which temperature, threshold and conformal sets were fitted."""
    stated_accuracy: StatedAccuracy | None = None
    judge: JudgeResult | UnsetType = UNSET
    """The key is there only if a judge was asked."""
    reasoning: ReasoningChecks | None = None
    """None where no item has a reasoning, and with --metrics."""
    token_uncertainty: TokenUncertainty | UnsetType = UNSET
    """The key is there only if the results have log-probabilities of tokens."""
    review: ExpertReview | UnsetType = UNSET
    """What experts found in a review of these results; the key is there only with --review."""
    reasoning_use: list[ReasoningUse] | UnsetType = UNSET
    """An entry for each file of --edited; the key is there only with such files."""
    warnings: list[str]
    """Sentences that a reader of the numbers has to know."""

    @property
    def ablations(self) -> list[ImageAblation]:
        """The comparisons with all files of --ablated, in the order of the command."""
        return [self.image_ablation, *self.further_ablations] if self.image_ablation else []
