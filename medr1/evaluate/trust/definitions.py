"""What each number of calibration and abstention is."""

from __future__ import annotations

from medr1.evaluate.definition import Definition

_OWN = "none: medr1"
_SHARE = "0 to 1"
_CONFIDENCE = (
    "Confidence is the probability of the extracted answer among the options, or the file's own, "
    "or the share of the samples that say it. Answers without one are left out and counted."
)
_OPTIONS = "Items whose option_probs hold the right option."
_LOG = "Probabilities under 1e-6, to which results.json rounds, count as 1e-6; how many is said."
_BINS = "the sum over bins of n_b/n |accuracy_b - mean confidence_b|"
_HELD_OUT = "Fitted on the items of --calibrate-on, of which none may be judged."
_SAMPLES = (
    "The samples of infer --num-samples; answers are equal as the verdict compares them. An item "
    "that failed is wrong, and in no measure of agreement; a sample without an answer agrees with "
    "no other."
)
_GUO = "Naeini et al. (2015); Guo et al. (2017)"
_NUMPY = ("numpy",)
_SCIPY = ("scipy",)

TRUST = (
    Definition(
        "ece",
        "Expected calibration error",
        f"{_BINS}; 15 equally wide bins, closed to the right",
        _CONFIDENCE,
        _OWN,
        _SHARE,
        "How far, on average, being right is from being sure; above 0 by chance, and by_chance is "
        "what 95 % of calibrated models stay under.",
        f"{_GUO}; chance: the larger of consistency resampling, Bröcker and Smith (2007), and the "
        "wild cluster bootstrap, Cameron, Gelbach and Miller (2008)",
        _NUMPY,
    ),
    Definition(
        "ece_mass",
        "Expected calibration error, equal mass",
        f"{_BINS}; 15 bins of as many items, by stable rank",
        _CONFIDENCE,
        _OWN,
        _SHARE,
        "As ece, where most answers are about equally sure: no bin is nearly empty.",
        "Nguyen and O'Connor (2015)",
        _NUMPY,
    ),
    Definition(
        "ece_debiased",
        "Debiased calibration error (root mean square)",
        "the square root of the sum over equal-mass bins of n_b/n ((mean confidence_b - "
        "accuracy_b)^2 - accuracy_b (1 - accuracy_b) / (n_b - 1)), not under 0",
        _CONFIDENCE,
        _OWN,
        _SHARE,
        "The L2 error (ece is L1) less what chance adds to it: near 0 for a calibrated model, "
        "whatever n.",
        "Kumar, Liang and Ma (2019), section 4.1; the interval inverts a noncentral chi-square "
        "(Satterthwaite, 1946) of the bins' gaps, with their covariance over images",
        _SCIPY,
    ),
    Definition(
        "mce",
        "Maximum calibration error",
        "the largest |accuracy_b - mean confidence_b| of the bins of ece that have items",
        _CONFIDENCE,
        _OWN,
        _SHARE,
        "The worst bin; often the emptiest one, so look at its n.",
        _GUO,
        _NUMPY,
    ),
    Definition(
        "brier",
        "Brier score",
        "the mean of (confidence - correct)^2 = reliability - resolution + uncertainty + within "
        "bins, exactly",
        _CONFIDENCE,
        _OWN,
        "0 to 1; lower is better",
        "Calibration and the power to tell right from wrong in one number.",
        "Brier (1950); Murphy (1973); Stephenson et al. (2008) for what is within bins",
        _NUMPY,
    ),
    Definition(
        "brier_options",
        "Brier score of the options",
        "the mean of the sum over options of (p - 1 where right, else 0)^2",
        _OPTIONS,
        _OWN,
        "0 to 2; lower is better",
        "As brier, of all options' probabilities, whatever was answered.",
        "Brier (1950)",
        _NUMPY,
    ),
    Definition(
        "nll",
        "Negative log-likelihood",
        "the mean of -ln p(right option)",
        f"{_OPTIONS} {_LOG}",
        _OWN,
        "0 to 13.8; lower is better",
        "Punishes a right option that was thought impossible; guessing among four gives 1.39.",
        "Good (1952)",
        _NUMPY,
    ),
    Definition(
        "auroc",
        "AUROC of correctness",
        "the share of pairs of a right and a wrong answer of which the right one is surer; ties "
        "count a half; the interval is DeLong's over images, on the logit scale",
        _CONFIDENCE,
        "scipy, rankdata",
        _SHARE,
        "At 0.5 confidence says nothing of being right.",
        "DeLong et al. (1988); Obuchowski (1997) for clusters",
        _SCIPY,
    ),
    Definition(
        "temperature",
        "Temperature",
        "the T between 0.05 and 20 for which p^(1/T), made to sum to 1, has the least nll",
        f"{_HELD_OUT} {_LOG}",
        "scipy, minimize_scalar (bounded, over ln T); interval by 200 resamples of images",
        "0.05 to 20",
        "Over 1 the model was too sure, under 1 not sure enough; no answer changes.",
        "Guo et al. (2017)",
        _SCIPY,
    ),
    Definition(
        "aurc",
        "Area under the risk-coverage curve",
        "the mean, over k = 1 .. n, of the error among the k surest answers; equally sure ones in "
        "the mean of all their orders",
        _CONFIDENCE,
        "scipy, digamma for the harmonic numbers",
        "0 to 1; lower is better",
        "How wrong a model is that answers only where it is surest, wherever the line is drawn.",
        "Geifman and El-Yaniv (2017); Geifman et al. (2019)",
        _SCIPY,
    ),
    Definition(
        "e_aurc",
        "Excess AURC",
        "aurc less that of the order that puts every wrong answer last",
        _CONFIDENCE,
        "scipy, digamma for the harmonic numbers",
        "0 to 1; lower is better",
        "As aurc, without what accuracy alone decides.",
        "Geifman et al. (2019)",
        _SCIPY,
    ),
    Definition(
        "risk_at_80",
        "Error at 80 % coverage",
        "the error among the surest 80 % of the answers, rounded up",
        _CONFIDENCE,
        _OWN,
        _SHARE,
        "What leaving the least sure fifth to others gains.",
        "Geifman and El-Yaniv (2017)",
        _NUMPY,
    ),
    Definition(
        "referral",
        "Referral threshold",
        "going down from 0.95 in steps of 0.05, the last threshold before one fails: the 95 % "
        "Clopper-Pearson upper bound of the error among the answers at least so sure is over "
        "--target-risk; those with too few answers to pass without an error are left out",
        f"{_HELD_OUT} An answer without a confidence is referred. Items are taken as independent.",
        "scipy, beta.ppf",
        _SHARE,
        "With 95 % confidence, answers over the threshold are wrong no more often than the "
        "target, on questions like the held-out ones.",
        "Angelopoulos et al. (2021), Learn then Test, by fixed-sequence testing",
        _SCIPY,
    ),
    Definition(
        "conformal",
        "Conformal prediction sets",
        "options with 1 - p <= q; q is the ceil((n + 1)(1 - alpha))-th smallest 1 - p(right "
        "option) of the n held-out items: of all, and of the modality (Mondrian) where there are "
        "enough",
        f"{_OPTIONS} {_HELD_OUT}",
        _OWN,
        "coverage and shares 0 to 1; size 0 to the number of options",
        "A set holds the right option in at least 1 - alpha of questions like the held-out ones, "
        "on average over both; a large or empty set says that the model does not know.",
        "Vovk et al. (2005); Sadinle et al. (2019) for the score",
        _NUMPY,
    ),
    Definition(
        "self_consistency",
        "Self-consistency",
        "the accuracy of the answer that most of an item's samples give; of equally frequent ones "
        "the one that came first",
        _SAMPLES,
        _OWN,
        _SHARE,
        "Whether asking several times and counting is better than asking once.",
        "Wang et al. (2023)",
        _NUMPY,
    ),
    Definition(
        "answer_entropy",
        "Answer entropy",
        "-sum p ln p / ln n over the different answers of n samples; no answer is one of its own",
        _SAMPLES,
        _OWN,
        "0 all alike, 1 all different",
        "The more the samples differ, the less the model knows; its AUROC says how well that tells "
        "wrong answers.",
        "Kuhn, Gal and Farquhar (2023), with medr1's equality of answers",
        _NUMPY,
    ),
    Definition(
        "pass_at_k",
        "pass@k",
        "the mean of 1 - C(n - c, k) / C(n, k), of n samples with c right ones",
        _SAMPLES,
        _OWN,
        _SHARE,
        "How often at least one of k samples is right; with few options guessing gains by k too.",
        "Chen et al. (2021), eq. 1",
        _NUMPY,
    ),
    Definition(
        "between_run_sd",
        "Standard deviation from run to run",
        "the square root of the sum over items of c (n - c) / (n (n - 1)), over the number of them",
        _SAMPLES,
        _OWN,
        "0 to 0.71",
        "How far the accuracy of one sampled run moves by the sampling alone.",
        "the variance of a sum of independent items",
        _NUMPY,
    ),
    Definition(
        "dropout",
        "Dropout sampling",
        "the accuracy of the option that is most probable in the mean of the passes' probabilities",
        "The passes of infer --dropout-samples: the model's own dropout left on, drawn for each "
        "item and pass. Items with as many passes as the most, over the options of option_probs.",
        _OWN,
        _SHARE,
        "Whether the mean of what a model says with parts of it dropped is better than the most "
        "probable option of the whole model; its mutual_information says what it does not know.",
        "Gal and Ghahramani (2016)",
        _NUMPY,
    ),
    Definition(
        "fleiss_kappa",
        "Fleiss' kappa",
        "(P - E) / (1 - E): P the mean share of agreeing pairs of files of an item, E the sum of "
        "the squared shares of the answers",
        "Letters, or yes and no, each kind of question by itself; items that every file answers.",
        _OWN,
        "1 all agree, 0 as by chance, negative below that",
        "How far several files agree beyond what their habits alone would give.",
        "Fleiss (1971)",
        _NUMPY,
    ),
    Definition(
        "mutual_information",
        "Mutual information of an ensemble",
        "the entropy of the members' mean probabilities less the mean of their entropies, in nats; "
        "members are files, mild views of a picture, or passes with dropout",
        "Items whose option_probs hold the right option in every member.",
        _OWN,
        "0 to ln of the number of options",
        "What the members disagree about, apart from what each is unsure of.",
        "Lakshminarayanan et al. (2017)",
        _NUMPY,
    ),
)
