"""The definitions of the numbers about token probabilities, for `medr1 eval --explain`."""

from __future__ import annotations

from medr1.metrics.definition import OWN, SHARE, Definition

_SOURCE = "CEBaG (arXiv 2603.21693); medr1/evaluate/trust/token_uncertainty.py"
_LOGPROBS = (
    "The results of infer --token-logprobs: natural logarithms, of the completion's tokens without "
    "the end token. Items with the numbers with and without the image."
)

TOKENS = (
    Definition(
        "token_variance",
        "Variance of the token log-probabilities",
        "the mean over items of the variance of ln p(token) over the tokens of the completion",
        f"{_LOGPROBS} The variance divides by the number of tokens; of one token it is 0.",
        OWN,
        "0 or more, in nats squared",
        "A completion with sure and unsure tokens has a high variance, which CEBaG takes as a sign "
        "of a hallucination; it depends on the prompt's format too.",
        _SOURCE,
        ("numpy",),
    ),
    Definition(
        "image_shift",
        "Shift of the token log-probabilities without the image",
        "the mean over items of the mean over tokens of |ln p(token | image) - ln p(token | grey "
        "image)|",
        f"{_LOGPROBS} Without the image: the same prompt with a grey image of the same size, and "
        "the completion that was generated with the image.",
        OWN,
        "0 or more, in nats",
        "Near 0, the model would have written the same without the image.",
        f"{_SOURCE}. The paper calls it evidence magnitude; that it is a mean of absolute values "
        "is medr1's reading.",
        ("numpy",),
    ),
    Definition(
        "token_uncertainty",
        "Token variance and image shift together",
        "AUROC of wrong answers by z(variance) - z(shift), z(x) = (x - mean) / standard deviation "
        "over the items of the file",
        f"{_LOGPROBS} auroc_variance and auroc_image_shift are those of each number alone, the "
        "shift with the opposite sign. An undecided answer counts as wrong.",
        "scipy, rankdata",
        SHARE,
        "At 0.5 the token probabilities say nothing about whether an answer is wrong.",
        "The two numbers are after CEBaG (arXiv 2603.21693); their combination is medr1's own, "
        "as the paper's formula was not at hand. Interval as for auroc.",
        ("scipy",),
    ),
)
