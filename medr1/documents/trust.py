"""The parts of summary.json on trust: confidence, abstention, repeated samples, ensembles."""

from __future__ import annotations

from msgspec import Struct

from medr1.documents.metric import Metric, Missing, Section

# --- calibration --------------------------------------------------------------------------------


class CalibrationMetrics(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Metrics of the confidence. The last four are not computed for groups."""

    confidence: Metric
    accuracy: Metric
    overconfidence: Metric
    """Mean confidence minus accuracy."""
    ece: Metric
    """Expected calibration error, 15 bins of equal width."""
    ece_debiased: Metric
    brier: Metric
    auroc: Metric
    """How often a right answer has more confidence than a wrong one."""
    ece_mass: Metric | None = None
    """Expected calibration error, 15 bins with equally many items."""
    mce: Metric | None = None
    brier_options: Metric | None = None
    nll: Metric | None = None


class BrierDecomposition(Struct, frozen=True, kw_only=True):
    """The Brier score as reliability - resolution + uncertainty + within_bins."""

    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


class ReliabilityBin(Struct, frozen=True, kw_only=True):
    """One bin of the reliability diagram."""

    low: float
    high: float
    n: int
    confidence: float
    """The mean confidence."""
    accuracy: Metric


class CalibrationGroup(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The calibration in one group; without metrics, the reason."""

    n: int
    metrics: CalibrationMetrics | None = None
    reason: str | None = None


class Temperature(Section, frozen=True, kw_only=True):
    """The temperature that was fitted on other items, and the metrics with it."""

    temperature: Metric
    metrics: CalibrationMetrics | None


class Calibration(Section, frozen=True, kw_only=True):
    """Whether the model is right as often as its confidence says."""

    source: str
    """Where the confidence comes from."""
    n: int
    n_without: int
    metrics: CalibrationMetrics
    brier_decomposition: BrierDecomposition
    bins: list[ReliabilityBin]
    groups: dict[str, dict[str, CalibrationGroup]]
    """Kind, such as modality -> group -> its calibration."""
    temperature: Temperature | Missing


# --- abstention ---------------------------------------------------------------------------------


class SelectiveMetrics(Struct, frozen=True, kw_only=True):
    """Error rates of the answers with the highest confidence."""

    risk: Metric
    """The error rate of all answers with a confidence."""
    aurc: Metric
    """Area under the risk-coverage curve."""
    e_aurc: Metric
    """AURC minus that of the best possible order."""
    risk_at_80: Metric


class RiskPoint(Struct, frozen=True, kw_only=True):
    """One point of the risk-coverage curve."""

    coverage: float
    risk: float
    threshold: float
    """The lowest confidence among the answers that are used."""


class DeferralRates(Struct, frozen=True, kw_only=True):
    """Of some items: the share that is deferred, and the error rate of the others."""

    deferred: Metric
    risk: Metric


class Deferral(Section, frozen=True, kw_only=True):
    """The threshold of confidence below which a question is left to a clinician."""

    target_risk: float
    level: float
    """The probability with which the error rate is below the target."""
    threshold: float
    n: int
    deferred: Metric
    risk: Metric
    groups: dict[str, DeferralRates]
    """Modality -> the rates there."""


class SetMetrics(Struct, frozen=True, kw_only=True):
    """Metrics of conformal prediction sets."""

    coverage: Metric
    """The share of the sets with the right option."""
    size: Metric
    """The mean number of options in a set."""
    single: Metric
    """The share of the sets with one option."""
    empty: Metric


class ConformalSets(SetMetrics, frozen=True, kw_only=True):
    """Metrics of the sets of all items, and by modality."""

    groups: dict[str, SetMetrics]


class Conformal(Section, frozen=True, kw_only=True):
    """Conformal prediction sets: options that contain the right one with a given probability."""

    alpha: float
    nominal: float
    """1 - alpha."""
    n_calibration: int
    quantile: float
    split: ConformalSets
    """One quantile for all items."""
    mondrian: ConformalSets
    """A quantile for each modality."""
    without_own_quantile: list[str]
    """Modalities with too few items for a quantile of their own."""


class Selective(Section, frozen=True, kw_only=True):
    """Which answers should be used, and which questions left to a clinician."""

    source: str
    n: int
    metrics: SelectiveMetrics
    curve: list[RiskPoint]
    deferral: Deferral | Missing
    conformal: Conformal | Missing


# --- repeated samples ---------------------------------------------------------------------------


class SelfConsistency(Struct, frozen=True, kw_only=True):
    """The accuracy of the samples' majority beside that of the one answer."""

    accuracy: Metric
    majority_accuracy: Metric
    difference: Metric
    agreement: Metric
    n_ties: int


class AnswerEntropy(Struct, frozen=True, kw_only=True):
    """The entropy of the samples' answers, and how well it predicts wrong answers."""

    mean: Metric
    auroc: Metric
    auroc_disagreement: Metric


class AgreementBand(Struct, frozen=True, kw_only=True):
    """The one answer's accuracy on the items whose samples agree to some degree."""

    agreement: str
    """Such as "6 to 7 of 8"."""
    n: int
    accuracy: Metric


class PassAtK(Struct, frozen=True, kw_only=True):
    """The share of the items for which at least one of k samples is right."""

    k: int
    metric: Metric


class Stability(Struct, frozen=True, kw_only=True):
    """How far answers and accuracy vary from run to run."""

    all_agree: Metric
    pairwise_agreement: Metric
    within_item_sd: Metric
    between_run_sd: Metric
    observed_run_sd: float | None


class Uncertainty(Section, frozen=True, kw_only=True):
    """Several samples of each item: their majority, entropy and spread."""

    num_samples: tuple[int, int]
    """(fewest, most) samples of an item."""
    n: int
    n_without: int
    n_failed: int
    self_consistency: SelfConsistency
    entropy: AnswerEntropy
    by_agreement: list[AgreementBand]
    pass_at_k: list[PassAtK]
    stability: Stability


# --- probabilities of tokens ---------------------------------------------------------------------


class TokenUncertainty(Struct, frozen=True, kw_only=True):
    """The probabilities of the completions' tokens, and how well they predict wrong answers."""

    n: int
    """Number of items with log-probabilities with the image and without it."""
    n_without: int
    variance: Metric
    """The mean over items of the variance of a completion's token log-probabilities."""
    image_shift: Metric
    """The mean over items of the mean over tokens of |log-probability with - without image|."""
    auroc_variance: Metric
    """How often a wrong answer has a higher variance than a right one."""
    auroc_image_shift: Metric
    """How often a wrong answer has a smaller shift than a right one."""
    auroc_combined: Metric
    """How often a wrong answer has a higher z-score of the variance, less that of the shift."""


# --- several passes, several models -------------------------------------------------------------


class MeanPrediction(Struct, frozen=True, kw_only=True):
    """The answer by the mean of several passes' probabilities, beside that of one pass."""

    accuracy: Metric
    single_pass: Metric
    difference: Metric
    flip_rate: Metric
    """The share of the items whose answer is not the same in all passes."""
    mutual_information: Metric
    predictive_entropy: Metric
    auroc: Metric
    auroc_entropy: Metric


class Dropout(Section, frozen=True, kw_only=True):
    """Passes with the model's dropout on."""

    num_samples: int
    n_without: int
    prediction: MeanPrediction


class TestTimeAugmentation(Section, frozen=True, kw_only=True):
    """Mild views of the image, combined."""

    num_views: int
    prediction: MeanPrediction


class EnsembleAccuracy(Struct, frozen=True, kw_only=True):
    """The accuracy of an ensemble's answers, and its difference from each member's."""

    accuracy: Metric
    differences: dict[str, Metric]
    """Member -> accuracy of the ensemble minus that of the member."""


class MeanProbabilities(Section, frozen=True, kw_only=True):
    """The ensemble's answers by the mean of the members' probabilities."""

    accuracy: Metric
    differences: dict[str, Metric]
    predictive_entropy: Metric
    expected_entropy: Metric
    mutual_information: Metric
    auroc: Metric
    auroc_entropy: Metric


class MemberPair(Struct, frozen=True, kw_only=True):
    """How often two members give the same answer."""

    members: tuple[str, str]
    agreement: Metric


class Ensemble(Struct, frozen=True, kw_only=True):
    """Several models that answered the same questions."""

    members: list[str]
    n: int
    majority: EnsembleAccuracy
    mean_probabilities: MeanProbabilities | Missing
    all_agree: Metric
    pairs: list[MemberPair]
    kappa: dict[str, Metric]
    """Kind of question -> Fleiss' kappa."""
    paired_by: str | None = None
