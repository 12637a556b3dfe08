"""Results of real questions, for the tests of the review."""

import json
from dataclasses import replace
from itertools import cycle, islice

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_vqa_folder
from medr1.records import RESULTS_SCHEMA, Prediction, prediction_to_dict

HOSTILE = '</p><script>window.hurt = 1</script><img src=x onerror="window.hurt = 1">'


def write_results(path, n=14):
    """Results of questions with options: right, wrong, confidently wrong, and hostile texts."""
    samples = read_questions(tiny_vqa_folder() / "test.json").samples
    samples = [sample for sample in samples if len(sample.options) > 1]
    entries = []
    for number, sample in enumerate(islice(cycle(samples), n)):
        wrong = next(letter for letter in sample.options if letter != sample.ground_truth)
        answer = sample.ground_truth if number % 3 == 0 else wrong
        metadata = {"patient": f"secret-patient-{number}"}
        prediction = Prediction(
            replace(sample, id=f"secret-id-{number}", metadata=metadata),
            f"<think>{HOSTILE}</think> <answer> {answer} </answer>",
            extracted_answer=answer,
            reasoning=HOSTILE,
            option_probs={letter: 1 / len(sample.options) for letter in sample.options},
            confidence=0.95 if number % 3 == 1 else 0.5,
        )
        entries.append(prediction_to_dict(prediction))
    document = {"schema": RESULTS_SCHEMA, "meta": {"model": "some/secret-model"}}
    path.write_text(json.dumps({**document, "results": entries}))
    return path
