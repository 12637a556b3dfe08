"""What each number of summary.json is: formula, normalisation, library, how to read it."""

from __future__ import annotations

from medr1.evaluate.definition import Definition
from medr1.evaluate.trust.definitions import TRUST

_SQUAD_TEXT = "SQuAD's: lower case, no ASCII punctuation, no articles, single spaces"
_OPTION_TEXT = (
    "With options the chosen one's text, else the answer as the model wrote it (without tags and "
    '"The answer is"), whatever the gold\'s type and the protocol; no answer scores 0.'
)
_TEXTS_OF_ANSWERS = f"{_SQUAD_TEXT}. {_OPTION_TEXT}"
_OWN = "none: medr1"
_SHARE = "0 to 1"
_FINDING = (
    "Positive is yes, or one option's text among the questions that offer it. An item without "
    "an answer is a wrong one."
)
_ANSWERED = "Positive is yes, or one option's text. Of the items that were answered so."
_PAPINENI = "Papineni et al. (2002), BLEU; Post (2018), sacrebleu"


def _bleu(k: int) -> Definition:
    mean = "the 1-gram precision" if k == 1 else f"the geometric mean of the 1- to {k}-gram ones"
    reading = (
        "Overlap of single words; the one BLEU that says something of answers of a few words."
        if k == 1
        else f"Only answers of {k} words or more have {k}-grams, so that it is 0 where there is no "
        "such answer, and above a lower order where the long answers match better than the short "
        "ones or smoothing stands in for no match (a warning then says so); it says little where "
        "references have fewer than 4 words."
    )
    return Definition(
        f"bleu{k}",
        f"BLEU-{k}",
        f"exp(min(0, 1 - r/c)) times {mean}, counts summed over all items; c and r are the "
        "numbers of words of all answers and references. A precision of 0 is smoothed (exp).",
        f"Lower case, tokenizer 13a. {_OPTION_TEXT}",
        f"sacrebleu, corpus BLEU, max_ngram_order={k}; the signature stands in the summary",
        _SHARE,
        reading,
        _PAPINENI,
        ("sacrebleu",),
    )


_LIST = (
    Definition(
        "accuracy",
        "Accuracy",
        "right items / all items",
        "The protocol's verdict (`answers.judge`). Failed, empty, ambiguous and unread answers "
        "are wrong and count. An open answer is right where it is the same text, number or "
        "formula, claims the same findings, or asserts the gold in prose without a competing value "
        "(medr1/answers/README.md). What rules cannot decide is wrong and counted as undecided.",
        _OWN,
        _SHARE,
        "Hold it against chance and the blind baseline, and against the same under another "
        "protocol: `default` shows knowledge, `strict` the format as well.",
        "medr1/answers",
    ),
    Definition(
        "macro_accuracy",
        "Macro accuracy",
        "the unweighted mean of the groups' accuracies (modality, question type, data set ...)",
        "Items that name no group are in none.",
        _OWN,
        _SHARE,
        "Every group weighs the same, so small groups move it most; accuracy weighs every item "
        "the same.",
        "Sokolova and Lapalme (2009)",
    ),
    Definition(
        "exact_match",
        "Exact match",
        "items whose answer equals the gold / all items",
        f"{_SQUAD_TEXT}; letters and golds that this empties are compared folded, in any case. "
        f"{_OPTION_TEXT}",
        "none: medr1; torchmetrics' SQuAD is the oracle of its test",
        _SHARE,
        "Stricter than accuracy: other spellings of a number, the same finding in other words, and "
        'a sentence ("Yes, there is.") for a gold of one word ("yes") do not count.',
        "Rajpurkar et al. (2016), SQuAD",
    ),
    Definition(
        "counting_accuracy",
        "Counting accuracy",
        "right items whose gold is a number / items whose gold is a number",
        "Numbers as decimals, from digits or words; exactly one number has to be stated, so that "
        '"3 or 4" is none.',
        _OWN,
        _SHARE,
        "A near miss is a miss; n says how many items have a number as their gold.",
        "R1-V's counting evaluation, without its <answer> pattern",
    ),
    Definition(
        "closed_accuracy",
        "Accuracy of closed questions",
        "right closed questions / closed questions",
        "Closed is a question with options, with a letter, yes or no as its gold, or that the file "
        "calls closed (answer_class). The verdict is accuracy's. Unanswered, unread and wrong ones "
        "all count; LLaVA-Med's run_eval leaves a wrong yes or no out of the denominator.",
        _OWN,
        _SHARE,
        "Of questions with few answers to choose from, so that guessing alone reaches much of it.",
        "Li et al. (2023), LLaVA-Med, without that fault",
    ),
    Definition(
        "token_f1",
        "Token F1, sets",
        "2PR / (P + R) of an item, P = |A & G| / |A|, R = |A & G| / |G| over the sets of tokens; "
        "then the mean over items",
        _TEXTS_OF_ANSWERS,
        _OWN,
        _SHARE,
        'Shared words, not shared meaning: "no effusion" for "effusion" has 0.67.',
        "the evaluation guide, 4.c",
    ),
    Definition(
        "token_f1_multiset",
        "Token F1, multisets",
        "as token_f1, a word counted as often as it stands there",
        _TEXTS_OF_ANSWERS,
        "none: medr1; torchmetrics' SQuAD is the oracle of its test",
        _SHARE,
        "The F1 of SQuAD and most papers; it differs from token_f1 only where words repeat.",
        "Rajpurkar et al. (2016), SQuAD",
    ),
    Definition(
        "open_recall",
        "Recall of open questions (LLaVA-Med's)",
        "tp / (tp + fn) of an item: tp the answer's tokens that are in the gold, fn the gold's "
        "that are not in the answer, each as often as it stands there; then the mean over open "
        "questions. Where none of them repeats: |A & G| / |G|",
        f"{_TEXTS_OF_ANSWERS} Open is every question that is not closed (see closed_accuracy). "
        "LLaVA-Med takes the whole output, VQA's normalisation and the file's label OPEN instead.",
        _OWN,
        _SHARE,
        "The long answer that lists everything reaches 1, so hold token_f1 against it.",
        "Li et al. (2023), LLaVA-Med, llava/eval/run_eval.py",
    ),
    Definition(
        "rouge_l",
        "ROUGE-L",
        "2PR / (P + R) of an item, P = L / |answer|, R = L / |gold|, L the length of the longest "
        "common subsequence of words; then the plain mean over items",
        f"Lower case, letters and digits only, no stemmer. {_OPTION_TEXT}",
        "rouge-score, RougeScorer(['rougeL'], use_stemmer=False), without its random aggregator",
        _SHARE,
        "As token F1, with the order of the words.",
        "Lin (2004)",
        ("rouge-score",),
    ),
    *(_bleu(k) for k in (1, 2, 3, 4)),
    Definition(
        "chrf",
        "chrF2",
        "F-score with recall weighed twice as much as precision (beta 2), of character 1- to "
        "6-grams, counts summed over all items",
        f"As written, without white space. {_OPTION_TEXT}",
        "sacrebleu, CHRF(); the signature stands in the summary",
        _SHARE,
        "Kinder to inflection and short answers than BLEU, and as blind to negation.",
        "Popović (2015)",
        ("sacrebleu",),
    ),
    Definition(
        "bertscore",
        "BERTScore",
        "F of an item: each token's embedding is matched with the most similar of the other text "
        "(cosine); P and R are the means over the answer's and the gold's tokens; then the mean "
        "over items",
        "The model's own tokenizer. A letter stands for its option's text; an empty text has 0.",
        "bert-score (the extra `semantic`), a model in safetensors; model, hash, layer and "
        "rescaling stand in the signature",
        "-1 to 1; unrescaled mostly 0.8 to 1",
        "No absolute score: compare systems on the same items and model only, since texts that "
        "contradict each other reach 0.9.",
        "Zhang et al. (2020)",
        ("bert-score", "transformers"),
    ),
    Definition(
        "bleurt",
        "BLEURT (not computed)",
        "a regression by a fine-tuned BERT",
        "-",
        "none",
        "-",
        "medr1 does not compute it: BLEURT has no maintained package on PyPI (the reference "
        "implementation is not there, and bleurt-pytorch 0.0.1 fails to import with today's "
        "transformers).",
        "Sellam et al. (2020)",
    ),
    Definition(
        "prevalence",
        "Prevalence",
        "positive items / items of the finding",
        "Positive is yes, or one option's text among the questions that offer it.",
        _OWN,
        _SHARE,
        "What PPV and NPV rest on: at another prevalence they are others.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "sensitivity",
        "Sensitivity (recall)",
        "positives answered as positive / positives",
        _FINDING,
        _OWN,
        _SHARE,
        "The share of those who have the finding that is found.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "specificity",
        "Specificity",
        "negatives answered as negative / negatives",
        _FINDING,
        _OWN,
        _SHARE,
        "The share of those without the finding that is cleared.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "ppv",
        "Positive predictive value (precision)",
        "positives answered as positive / items answered as positive",
        _ANSWERED,
        _OWN,
        _SHARE,
        "How far a yes can be believed at this prevalence, and at no other.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "npv",
        "Negative predictive value",
        "negatives answered as negative / items answered as negative",
        _ANSWERED,
        _OWN,
        _SHARE,
        "How far a no can be believed at this prevalence, and at no other.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "chance",
        "Chance",
        "the mean of 1 / (number of options)",
        "Over the items with options.",
        _OWN,
        _SHARE,
        "What guessing gives; an accuracy near it shows nothing.",
        "medr1/data/audit/blind.py",
    ),
    Definition(
        "option_prior",
        "Blind baseline (option prior)",
        "the accuracy of always taking the option that was right most often when offered in "
        "--train-data: (times right + 0.5) / (times offered + 2)",
        "Options in lower case without a final period; over the items with options.",
        _OWN,
        _SHARE,
        "What the options' texts alone give, without image or question.",
        "medr1/data/audit/blind.py",
    ),
    Definition(
        "image_gain",
        "Gain over the blind baseline",
        "accuracy - accuracy of the best blind predictor, on the items with options",
        "Paired, item by item; the best of the predictors of medr1 data audit on these items.",
        _OWN,
        "-1 to 1",
        "What the model adds to what the texts give; with an interval around 0 it has "
        "not shown that it looks.",
        "medr1/evaluate",
    ),
    Definition(
        "image_needed",
        "Accuracy where an image is needed",
        "accuracy over the items that no blind predictor gets right where it is above chance",
        "Longest option; option prior, question lookup, text classifier fitted on --train-data. "
        "Above chance: on all items, or in a modality, question type or data set (Holm).",
        _OWN,
        _SHARE,
        "What the model can do where these predictors fail; others may still know the answer.",
        "medr1/data/audit/shortcuts.py",
    ),
    Definition(
        "ablation_gain",
        "Gain by the image",
        "accuracy - accuracy of the same model on the same items without their images",
        "Paired, item by item; the results of infer --ablate-image blank, noise or shuffle.",
        _OWN,
        "-1 to 1",
        "What the model gets right with the image only; an interval around 0 shows no use of it.",
        "medr1/evaluate/image_ablation.py",
    ),
    Definition(
        "same_answer",
        "Same answer without the image",
        "items whose extracted answer is the same with and without the image / all items",
        "An item without an answer is not the same.",
        _OWN,
        _SHARE,
        "Near 1, the image changes next to nothing.",
        "medr1/evaluate/image_ablation.py",
    ),
    Definition(
        "wilson",
        "Wilson's interval",
        "(p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.96",
        "For shares of right and wrong items that all have an image of their own; over images "
        "where repeated images are all right or all wrong.",
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
        "Seeded (--seed). Images, or what --cluster-by names, such as the patient.",
        "numpy",
        "that of the number",
        "How far the number would move with other images of the same kind; with fewer than 30 "
        "images it is too narrow, and where all resamples are alike none is given.",
        "Efron (1979); Field and Welsh (2007) for clusters",
        ("numpy",),
    ),
    Definition(
        "mcnemar",
        "McNemar's exact test",
        "two-sided binomial p of the items that one run alone has right, of all that exactly one "
        "has right, at 1/2",
        "The same items of two runs, item by item. It takes items for independent: where images "
        "repeat, the signs of whole images are flipped instead.",
        "scipy, binomtest",
        _SHARE,
        "How often a difference this large comes by chance alone where the two are equally good; "
        "it says nothing of how large it is, which the interval does.",
        "McNemar (1947)",
        ("scipy",),
    ),
    Definition(
        "holm",
        "Holm's correction",
        "p values in rising order times m, m - 1, ... 1, each at least the one before, at most 1",
        "Over all groups that are compared at once.",
        _OWN,
        _SHARE,
        "The chance of even one false alarm among all groups stays below the level.",
        "Holm (1979)",
    ),
)

DEFINITIONS = {definition.name: definition for definition in (*_LIST, *TRUST)}
"""Every number by its name."""
