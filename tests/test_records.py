from medr1.records import (
    Failure,
    Prediction,
    Sample,
    prediction_from_dict,
    prediction_to_dict,
    sample_id,
)

SAMPLE = Sample(
    id="q1",
    images=("a.jpg", "b.jpg"),
    question="Which?",
    options={"A": "CT", "B": "MRI"},
    ground_truth="B",
    answer_type="multiple_choice",
    modality="MRI",
    metadata={"age": 61},
)


def test_a_prediction_survives_its_file_form():
    for prediction in (
        Prediction(SAMPLE, model_output="B", extracted_answer="B", image_notes=("alpha_on_white",)),
        Prediction(SAMPLE, option_probs={"A": 0.3, "B": 0.7}, confidence=0.7, samples=("A", "B")),
        Prediction(SAMPLE, error=Failure("image_missing", "not there")),
    ):
        assert prediction_from_dict(prediction_to_dict(prediction)) == prediction


def test_an_entry_holds_every_key_of_the_schema():
    assert list(prediction_to_dict(Prediction(SAMPLE))) == [
        *("id", "images", "question", "options", "ground_truth", "answer_type", "question_type"),
        *("modality", "dataset", "metadata", "model_output", "samples", "extracted_answer"),
        *("extraction", "reasoning", "option_probs", "confidence", "circular_answers"),
        *("dropout_probs", "finish_reason", "num_tokens", "image_notes", "error"),
    ]


def test_an_id_depends_on_image_question_and_options_alone():
    one = sample_id(Sample("", ("a.jpg",), "Which?", {"A": "CT"}))
    assert one == sample_id(Sample("", ("a.jpg",), "Which?", {"A": "CT"}))
    others = {
        sample_id(Sample("", ("b.jpg",), "Which?", {"A": "CT"})),
        sample_id(Sample("", ("a.jpg",), "What?", {"A": "CT"})),
        sample_id(Sample("", ("a.jpg",), "Which?", {"A": "MRI"})),
    }
    assert len(one) == 16 and one not in others and len(others) == 3
