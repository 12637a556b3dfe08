"""The definition of every number in summary.json: formula, normalisation, library, how to read it.

`explain` shows them on a terminal and as evaluate/README.md. Those of the metrics are in their
table (`medr1.metrics.registry`), and those of the numbers about calibration and abstention in
`definitions/trust.py`.
"""

from __future__ import annotations

from medr1.evaluate.definitions.generalization import GENERALIZATION
from medr1.evaluate.definitions.hallucination import HALLUCINATION
from medr1.evaluate.definitions.judge import JUDGE
from medr1.evaluate.definitions.reasoning import REASONING
from medr1.evaluate.definitions.reasoning_use import REASONING_USE
from medr1.evaluate.definitions.review import REVIEW
from medr1.evaluate.definitions.tokens import TOKENS
from medr1.evaluate.definitions.trust import TRUST
from medr1.metrics.definition import OWN, SHARE, Definition
from medr1.metrics.registry import METRICS

_FINDING = (
    "Positive is yes, or the text of one option among the questions that offer it. An item without "
    "an answer counts as wrong."
)
_ANSWERED = "Positive is yes, or the text of one option. Over the items that were answered so."

_MACRO = Definition(
    "macro_accuracy",
    "Macro accuracy",
    "the unweighted mean of the groups' accuracies (modality, question type, data set ...)",
    "Items without a value belong to no group.",
    OWN,
    SHARE,
    "Every group has the same weight, so an item of a small group counts most; in accuracy "
    "every item has the same weight.",
    "Sokolova and Lapalme (2009)",
)

_DEPENDENCE = "Beyond Accuracy (arXiv 2603.03437); medr1/evaluate/metrics/image_ablation.py"

_OTHERS = (
    Definition(
        "prevalence",
        "Prevalence",
        "positive items / items of the finding",
        "Positive is yes, or the text of one option, among the questions that offer it.",
        OWN,
        SHARE,
        "PPV and NPV depend on it: at another prevalence they have other values.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "sensitivity",
        "Sensitivity (recall)",
        "positives answered as positive / positives",
        _FINDING,
        OWN,
        SHARE,
        "The share of items with the finding on which the model finds it.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "specificity",
        "Specificity",
        "negatives answered as negative / negatives",
        _FINDING,
        OWN,
        SHARE,
        "The share of items without the finding on which the model rules it out.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "ppv",
        "Positive predictive value (precision)",
        "positives answered as positive / items answered as positive",
        _ANSWERED,
        OWN,
        SHARE,
        "How often a yes is right, at this prevalence and at no other.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "npv",
        "Negative predictive value",
        "negatives answered as negative / items answered as negative",
        _ANSWERED,
        OWN,
        SHARE,
        "How often a no is right, at this prevalence and at no other.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "chance",
        "Chance",
        "the mean of 1 / (number of options)",
        "Over the items with options.",
        OWN,
        SHARE,
        "The expected accuracy of guessing; an accuracy near it shows nothing.",
        "medr1/data/audit/blind.py",
    ),
    Definition(
        "option_prior",
        "Baseline without the image (option prior)",
        "the accuracy of always choosing the option that, where it was offered in --train-data, "
        "was right most often: (times right + 0.5) / (times offered + 2)",
        "Options in lower case without a final period; over the items with options.",
        OWN,
        SHARE,
        "What can be known from the options' texts alone, without the image or the question.",
        "medr1/data/audit/blind.py",
    ),
    Definition(
        "image_gain",
        "Gain over the best without the image",
        "accuracy - accuracy of the best predictor without the image, on the items with options",
        "Paired, item by item; the best on these items of the predictors of medr1 data audit.",
        OWN,
        "-1 to 1",
        "What the model adds to what the texts alone give; with an interval around 0 it has not "
        "shown that it uses the image.",
        "medr1/evaluate",
    ),
    Definition(
        "image_needed",
        "Accuracy where an image is needed",
        "accuracy over the items that no predictor without the image answers right where it is "
        "above chance",
        "Longest option; option prior, question lookup, text classifier fitted on --train-data. "
        "Above chance: on all items, or in a modality, question type or data set (Holm).",
        OWN,
        SHARE,
        "What the model can do where these predictors fail; others may still know the answer.",
        "medr1/data/audit/shortcuts.py",
    ),
    Definition(
        "ablation_gain",
        "Gain by the image",
        "accuracy - accuracy of the same model on the same items without their images",
        "Paired, item by item; the results of infer --ablate-image blank, noise or shuffle.",
        OWN,
        "-1 to 1",
        "What the model gets right only with the image; an interval around 0 shows no use of it.",
        "medr1/evaluate/metrics/image_ablation.py",
    ),
    Definition(
        "same_answer",
        "Same answer without the image",
        "items whose extracted answer is the same with and without the image / all items",
        "An item without an answer is not the same. Open answers are the same if they claim the "
        "same in other words.",
        OWN,
        SHARE,
        "Near 1, the image hardly changes the answers.",
        "medr1/evaluate/metrics/image_ablation.py",
    ),
    Definition(
        "visual_reliance",
        "Visual reliance",
        "accuracy - accuracy of the same model on the same items with shuffled images",
        "Paired, item by item; the results of infer --ablate-image shuffle. It is ablation_gain "
        "with the image of another question, which by chance may be the item's own.",
        OWN,
        "-1 to 1",
        "What the model gets right only with the right image, and not with just any image.",
        _DEPENDENCE,
    ),
    Definition(
        "image_sensitivity",
        "Image sensitivity",
        "items whose extracted answer changes without the image / all items",
        "For each ablation. Answers are compared as in same_answer; an answer in only one of both "
        "runs is a change, and none in both is not.",
        OWN,
        SHARE,
        "How often the image changes the answer, to a right or to a wrong one; a change need not "
        "be an improvement.",
        _DEPENDENCE,
    ),
    Definition(
        "visual_claims",
        "Completions that claim to see",
        "items whose completion with the image claims to see something in it / items with a "
        "completion",
        'Reasoning and completion; rules for English phrases such as "the image shows" or "I can '
        "see\" (medr1/text/visual_claims.py). The question's own words are no claim. With "
        "--mode options there are no completions.",
        OWN,
        SHARE,
        "How many items can be hallucinated visual reasoning at all.",
        _DEPENDENCE,
    ),
    Definition(
        "hallucinated_visual_reasoning",
        "Hallucinated visual reasoning rate",
        "items with a visual claim whose answer is the same without the image / items with a "
        "completion",
        "For each ablation. Claims as in visual_claims, answers as in same_answer.",
        OWN,
        SHARE,
        "How often the completion tells what it sees while the answer does not depend on it. A "
        "right answer that the texts alone give counts too.",
        _DEPENDENCE,
    ),
    Definition(
        "wilson",
        "Wilson's interval",
        "(p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.96",
        "For shares of right and wrong items, each about an image of its own; over images instead "
        "of items where images repeat and all items are right or all are wrong.",
        "scipy, binomtest(...).proportion_ci(method='wilson')",
        "within 0 to 1",
        "It has a width at 0 and at 1 too: 20 of 20 right is 83.9 to 100 %.",
        "Wilson (1927)",
        ("scipy",),
    ),
    Definition(
        "bootstrap",
        "Clustered bootstrap interval",
        "the 2.5 and 97.5 percentiles of the number over 2000 resamples, each drawing as many "
        "images as there are, with replacement, with all their items",
        "The seed is --seed. Images, or what --cluster-by names, such as the patient.",
        "numpy",
        "that of the number",
        "How much the number would vary with other images of the same kind; with fewer than 30 "
        "images it is too narrow, and where all resamples are equal there is none.",
        "Efron (1979); Field and Welsh (2007) for clusters",
        ("numpy",),
    ),
    Definition(
        "mcnemar",
        "McNemar's exact test",
        "the two-sided binomial p value (probability 1/2) of the number of items that one run "
        "alone has right, among those that exactly one of the two has right",
        "The same items of two runs, item by item. It treats items as independent: where images "
        "repeat, the test that flips the signs of whole images is used instead.",
        "scipy, binomtest",
        SHARE,
        "How often a difference this large occurs by chance alone if the two are equally good; it "
        "does not say how large the difference is, which the interval does.",
        "McNemar (1947)",
        ("scipy",),
    ),
    Definition(
        "holm",
        "Holm's correction",
        "p values in rising order times m, m - 1, ... 1, each at least the one before, at most 1; "
        "m is the number of p values",
        "Over all groups that are compared at once.",
        OWN,
        SHARE,
        "The probability of even one false positive among all groups stays below the level.",
        "Holm (1979)",
    ),
)


def _in_order() -> list[Definition]:
    """All definitions: macro accuracy follows accuracy, then the other metrics, then the rest."""
    accuracy, *others = (metric.definition for metric in METRICS.values())
    texts = [*HALLUCINATION, *REASONING, *REASONING_USE, *GENERALIZATION]
    return [accuracy, _MACRO, *others, *JUDGE, *REVIEW, *_OTHERS, *texts, *TRUST, *TOKENS]


DEFINITIONS = {definition.name: definition for definition in _in_order()}
"""Name of a number -> its definition, in the order of the README."""
