"""The definitions of the metrics in `medr1.evaluate.trust`, for `medr1 eval --explain`.

Each has a name, a title, a formula, what is done to the data before, the library that computes it,
its range, how to read it, and its source. medr1/evaluate/README.md is written from them.
"""

from __future__ import annotations

from medr1.metrics.definition import OWN, SHARE, Definition

_CONFIDENCE = (
    "Confidence is the probability of the extracted answer among the options, or the file's own, "
    "or the share of the samples with that answer. Answers without one are left out and counted."
)
_OPTIONS = "Items whose option_probs hold the right option."
_LOG = (
    "Probabilities under 1e-6, to which results.json rounds, count as 1e-6; n_clipped counts them."
)
_BINS = "the sum over bins of n_b/n |accuracy_b - mean confidence_b|"
_HELD_OUT = "Fitted on the items of --calibrate-on, which must not be among the evaluated ones."
_SAMPLES = (
    "The samples of infer --num-samples; answers are compared as for the verdict. An item that "
    "failed counts as wrong, and is left out of measures of agreement; a sample without an answer "
    "agrees with no other."
)
_GUO = "Naeini et al. (2015); Guo et al. (2017)"
_NUMPY = ("numpy",)
_SCIPY = ("scipy",)

TRUST = (
    Definition(
        "overconfidence",
        "Overconfidence",
        "mean confidence - accuracy",
        _CONFIDENCE,
        OWN,
        "-1 to 1",
        "Above 0 the model is overconfident, below 0 underconfident; near 0 the errors of single "
        "confidences can still be large, which ece shows.",
        "medr1/evaluate/trust/calibration.py",
        _NUMPY,
    ),
    Definition(
        "ece",
        "Expected calibration error",
        f"{_BINS}; 15 equally wide bins (a, b]",
        _CONFIDENCE,
        OWN,
        SHARE,
        "How far, on average, accuracy is from confidence; chance alone puts it above 0, and 95 % "
        "of calibrated models have an error below by_chance.",
        f"{_GUO}; chance: the larger of consistency resampling, Bröcker and Smith (2007), and the "
        "wild cluster bootstrap, Cameron, Gelbach and Miller (2008)",
        _NUMPY,
    ),
    Definition(
        "ece_mass",
        "Expected calibration error, equal mass",
        f"{_BINS}; 15 bins of equally many items, by stable rank",
        _CONFIDENCE,
        OWN,
        SHARE,
        "As ece, for models whose confidences are mostly similar: no bin is nearly empty.",
        "Nguyen and O'Connor (2015)",
        _NUMPY,
    ),
    Definition(
        "ece_debiased",
        "Debiased calibration error (root mean square)",
        "the square root of the sum over equal-mass bins of n_b/n ((mean confidence_b - "
        "accuracy_b)^2 - accuracy_b (1 - accuracy_b) / (n_b - 1)), at least 0",
        _CONFIDENCE,
        OWN,
        SHARE,
        "The L2 error (ece is L1) without what chance adds to it: near 0 for a calibrated model, "
        "for any n.",
        "Kumar, Liang and Ma (2019), section 4.1; the interval inverts a noncentral chi-square "
        "(Satterthwaite, 1946) of the bins' gaps, with their covariance over images",
        _SCIPY,
    ),
    Definition(
        "mce",
        "Maximum calibration error",
        "the largest |accuracy_b - mean confidence_b| of the bins of ece that have items",
        _CONFIDENCE,
        OWN,
        SHARE,
        "The error of the worst bin; this is often a bin with few items, so look at its n.",
        _GUO,
        _NUMPY,
    ),
    Definition(
        "brier",
        "Brier score",
        "the mean of (confidence - correct)^2 = reliability - resolution + uncertainty + within "
        "bins, exactly",
        _CONFIDENCE,
        OWN,
        "0 to 1; lower is better",
        "Calibration and the ability to tell right from wrong answers in one number.",
        "Brier (1950); Murphy (1973); Stephenson et al. (2008) for what is within bins",
        _NUMPY,
    ),
    Definition(
        "brier_options",
        "Brier score of the options",
        "the mean of the sum over options of (p - y)^2, y = 1 for the right option, else 0",
        _OPTIONS,
        OWN,
        "0 to 2; lower is better",
        "As brier, for the probabilities of all options, whatever the answer.",
        "Brier (1950)",
        _NUMPY,
    ),
    Definition(
        "nll",
        "Negative log-likelihood",
        "the mean of -ln p(right option)",
        f"{_OPTIONS} {_LOG}",
        OWN,
        "0 to 13.8; lower is better",
        "Large where a right option had almost no probability; guessing among four gives 1.39.",
        "Good (1952)",
        _NUMPY,
    ),
    Definition(
        "auroc",
        "AUROC of correctness",
        "the share of pairs of a right and a wrong answer in which the right one has the higher "
        "confidence; ties count a half; the interval is DeLong's over images, on the logit scale",
        _CONFIDENCE,
        "scipy, rankdata",
        SHARE,
        "At 0.5 confidence says nothing about whether an answer is right.",
        "DeLong et al. (1988); Obuchowski (1997) for clusters",
        _SCIPY,
    ),
    Definition(
        "temperature",
        "Temperature",
        "the T between 0.05 and 20 for which p^(1/T), normalised to sum to 1, has the lowest nll",
        f"{_HELD_OUT} {_LOG}",
        "scipy, minimize_scalar (bounded, over ln T); interval by 200 resamples of images",
        "0.05 to 20",
        "Above 1 the model was overconfident, below 1 underconfident; no answer changes.",
        "Guo et al. (2017)",
        _SCIPY,
    ),
    Definition(
        "aurc",
        "Area under the risk-coverage curve",
        "the mean, over k = 1 .. n, of the error among the k most confident answers, averaged over "
        "all orders of equally confident ones",
        _CONFIDENCE,
        "scipy, digamma for the harmonic numbers",
        "0 to 1; lower is better",
        "The error of a model that answers only where it is most confident, over all thresholds.",
        "Geifman and El-Yaniv (2017); Geifman et al. (2019)",
        _SCIPY,
    ),
    Definition(
        "e_aurc",
        "Excess AURC",
        "aurc less the aurc of the order that puts every wrong answer last",
        _CONFIDENCE,
        "scipy, digamma for the harmonic numbers",
        "0 to 1; lower is better",
        "As aurc, without the part that accuracy alone determines.",
        "Geifman et al. (2019)",
        _SCIPY,
    ),
    Definition(
        "risk_at_80",
        "Error at 80 % coverage",
        "the error among the most confident 80 % of the answers, rounded up",
        _CONFIDENCE,
        OWN,
        SHARE,
        "The error that is left when a clinician answers the least confident fifth.",
        "Geifman and El-Yaniv (2017)",
        _NUMPY,
    ),
    Definition(
        "deferral",
        "Deferral threshold",
        "going down from 0.95 in steps of 0.05, the last threshold before the first that fails: "
        "one fails where the 95 % Clopper-Pearson upper bound of the error among the answers at or "
        "above it is over --target-risk; one with too few answers to pass without any error is "
        "skipped",
        f"{_HELD_OUT} An answer without a confidence is deferred to a clinician. Items are taken "
        "as independent.",
        "scipy, beta.ppf",
        SHARE,
        "With 95 % confidence, the error of the answers at or above the threshold is at most the "
        "target, on questions like the held-out ones.",
        "Angelopoulos et al. (2021), Learn then Test, by fixed-sequence testing",
        _SCIPY,
    ),
    Definition(
        "conformal",
        "Conformal prediction sets",
        "options with 1 - p <= q; q is the ceil((n + 1)(1 - alpha))-th smallest 1 - p(right "
        "option) of the n held-out items: of all, and of the same modality where there are "
        "enough (Mondrian conformal prediction)",
        f"{_OPTIONS} {_HELD_OUT}",
        OWN,
        "coverage and shares 0 to 1; size 0 to the number of options",
        "A set holds the right option for at least 1 - alpha of the questions like the held-out "
        "ones, on average over questions and held-out items; a large or empty set shows that the "
        "model does not know.",
        "Vovk et al. (2005); Sadinle et al. (2019) for 1 - p as the score",
        _NUMPY,
    ),
    Definition(
        "self_consistency",
        "Self-consistency",
        "the accuracy of the most frequent answer of each item's samples; of equally frequent ones "
        "the one that came first",
        _SAMPLES,
        OWN,
        SHARE,
        "Whether asking several times and taking the majority is better than asking once.",
        "Wang et al. (2023)",
        _NUMPY,
    ),
    Definition(
        "answer_entropy",
        "Answer entropy",
        "-sum p ln p / ln n over the distinct answers of n samples; each sample without an answer "
        "counts as a distinct one",
        _SAMPLES,
        OWN,
        "0 all equal, 1 all different",
        "The more the samples differ, the less the model knows; its AUROC says how well the "
        "entropy predicts wrong answers.",
        "Kuhn, Gal and Farquhar (2023), with medr1's equality of answers",
        _NUMPY,
    ),
    Definition(
        "pass_at_k",
        "pass@k",
        "the mean of 1 - C(n - c, k) / C(n, k), of n samples with c right ones",
        _SAMPLES,
        OWN,
        SHARE,
        "How often at least one of k samples is right; with few options guessing rises with k too.",
        "Chen et al. (2021), eq. 1",
        _NUMPY,
    ),
    Definition(
        "between_run_sd",
        "Standard deviation from run to run",
        "sqrt(sum over items of c (n - c) / (n (n - 1))) / number of items, for n samples of an "
        "item with c right ones",
        _SAMPLES,
        OWN,
        "0 to 0.71",
        "How much the accuracy of one sampled run varies by the sampling alone.",
        "the variance of a sum of independent items",
        _NUMPY,
    ),
    Definition(
        "dropout",
        "Dropout sampling",
        "the accuracy of the most probable option in the mean of the passes' probabilities",
        "The passes of infer --dropout-samples: the model's own dropout left on, drawn for each "
        "item and pass. Items that have all passes, over the options of option_probs.",
        OWN,
        SHARE,
        "Whether the mean over passes with dropout is better than the most probable option of the "
        "whole model; its mutual_information measures what the model does not know.",
        "Gal and Ghahramani (2016)",
        _NUMPY,
    ),
    Definition(
        "fleiss_kappa",
        "Fleiss' kappa",
        "(P - E) / (1 - E): P the mean share of agreeing pairs of files of an item, E the sum of "
        "the squared shares of the answers",
        "Letters, or yes and no, each kind of question by itself; items with an answer in every "
        "file.",
        OWN,
        "1 full agreement, 0 as by chance, negative below that",
        "How far several files agree beyond what the frequencies of their answers would give.",
        "Fleiss (1971)",
        _NUMPY,
    ),
    Definition(
        "mutual_information",
        "Mutual information of an ensemble",
        "the entropy of the members' mean probabilities less the mean of their entropies, in nats; "
        "members are files, mild views of an image, or passes with dropout",
        "Items whose option_probs hold the right option in every member.",
        OWN,
        "0 to ln of the number of options",
        "How far the members disagree, apart from how unsure each of them is.",
        "Lakshminarayanan et al. (2017)",
        _NUMPY,
    ),
)
