"""Tiny files with the schemas of the published benchmarks.

The schemas are those of the data sets' cards on the Hugging Face hub and of the loaders in
alibaba-damo-academy/MedEvalKit (utils/*/*.py) and UCSC-VLAA/MedVLThinker (data_process/*.py).
"""

import base64
import csv
import io
import json
import zipfile

import pyarrow
import pyarrow.parquet
from PIL import Image


def png(shade, size=40):
    """The bytes of a grey image."""
    stream = io.BytesIO()
    Image.new("RGB", (size, size), (shade, shade, shade)).save(stream, "PNG")
    return stream.getvalue()


def parquet(path, rows):
    """Write rows as the hub does; images are objects with bytes and path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def embedded(shade):
    return {"bytes": png(shade), "path": None}


def vqa_rad(folder):
    rows = [
        {"image": embedded(10), "question": "is there a fracture?", "answer": "no"},
        {"image": embedded(10), "question": "which side is the lesion?", "answer": "left"},
        {"image": embedded(20), "question": "is the heart enlarged?", "answer": "yes"},
    ]
    parquet(folder / "data" / "test-00000-of-00001-e5bc3d208bb4deeb.parquet", rows)
    parquet(folder / "data" / "train-00000-of-00001-eb8844602202be60.parquet", rows[:1])


def slake(folder):
    def record(qid, question, answer, answer_type, language):
        return {
            "img_id": 1, "img_name": "xmlab1/source.jpg", "question": question, "answer": answer,
            "q_lang": language, "location": "Lung", "modality": "X-Ray",
            "answer_type": answer_type, "base_type": "vqa", "content_type": "Organ",
            "triple": ["vhead", "_", "_"], "qid": qid,
        }  # fmt: skip

    folder.mkdir(parents=True, exist_ok=True)
    records = [
        record(1, "Is the lung healthy?", "No", "CLOSED", "en"),
        record(2, "Which organ is shown?", "Lung", "OPEN", "en"),
        record(3, "Which side is abnormal?", "Left", "CLOSED", "en"),
        record(4, "肺部健康吗", "不健康", "CLOSED", "zh"),
        record(1622, "What is seen?", "", "OPEN", "en"),
    ]
    (folder / "test.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    with zipfile.ZipFile(folder / "imgs.zip", "w") as archive:
        archive.writestr("imgs/xmlab1/source.jpg", png(30))


def path_vqa(folder):
    rows = [
        {
            "image": embedded(40),
            "question": "where are stem cells located?",
            "answer": "here",
        },
        {"image": embedded(50), "question": "is the nucleus large?", "answer": "yes"},
    ]
    for split in ("train", "validation", "test"):
        parquet(folder / "data" / f"{split}-00000-of-00003-e5bc3d208bb4deeb.parquet", rows)


def pmc_vqa(folder):
    folder.mkdir(parents=True, exist_ok=True)
    header = ["index", "Figure_path", "Caption", "Question"]
    header += ["Choice A", "Choice B", "Choice C", "Choice D", "Answer", "split"]
    choices = [" A:Left lung", " B:Right lung ", " C:Heart", " D:Liver"]
    with (folder / "test_2.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerow([7, "PMC1_Fig1_1.jpg", "a, b", " Which organ? ", *choices, "B", "test"])
        writer.writerow([8, "PMC2_Fig1_1.jpg", "c", "Which one?", *choices, "D", "test"])
    with zipfile.ZipFile(folder / "images_2.zip", "w") as archive:
        archive.writestr("figures/PMC1_Fig1_1.jpg", png(60))
        archive.writestr("figures/PMC2_Fig1_1.jpg", png(70))


def omnimedvqa(folder):
    def record(number, modality_key, answer):
        return {
            "dataset": "Chest CT Scan", "question_id": f"Chest CT Scan_{number:04}",
            "question_type": "Modality Recognition", "question": "Which modality is this?",
            "gt_answer": answer, "image_path": f"Images/Chest CT Scan/test/a ({number}).png",
            "option_A": "MRI", "option_B": "CT, axial", "option_C": "X-ray", "option_D": "PET",
            modality_key: "CT(Computed Tomography)",
        }  # fmt: skip

    folder.parent.mkdir(parents=True, exist_ok=True)
    records = [record(1, "modality", "CT, axial"), record(2, "modality_type", "MRI")]
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        name = "OmniMedVQA/QA_information/Open-access/Chest CT Scan.json"
        archive.writestr(name, json.dumps(records))
        for number in (1, 2):
            image = f"OmniMedVQA/Images/Chest CT Scan/test/a ({number}).png"
            archive.writestr(image, png(80 + number))
    return folder.with_suffix(".zip")


def medxpertqa_mm(folder):
    options = dict(zip("ABCDE", ("Gout", "Lupus", "Sepsis", "Asthma", "Rickets"), strict=True))
    listed = " ".join(f"({letter}) {text}" for letter, text in options.items())
    record = {
        "id": "MM-26", "question": f"What is the diagnosis?\nAnswer Choices: {listed}",
        "options": options, "label": "D", "images": ["MM-26-a.jpeg", "MM-26-b.jpeg"],
        "medical_task": "Diagnosis", "body_system": "Skeletal", "question_type": "Reasoning",
    }  # fmt: skip
    (folder / "MM").mkdir(parents=True, exist_ok=True)
    (folder / "MM" / "test.jsonl").write_text(json.dumps(record) + "\n")
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number, name in enumerate(record["images"]):
            archive.writestr(f"images/{name}", png(90 + number))


def mmmu_med(folder):
    images = {f"image_{number}": None for number in range(3, 8)}
    row = {
        "id": "validation_Pharmacy_1", "question": "Which drug is <image 1> beside <image 2> ?",
        "options": "['Aspirin', \"Crohn's drug\", 'Heparin']", "explanation": "",
        "image_1": embedded(100), "image_2": embedded(101), **images, "img_type": "['Chemistry']",
        "answer": "B", "topic_difficulty": "Medium", "question_type": "multiple-choice",
        "subfield": "Pharmacology",
    }  # fmt: skip
    open_row = {**row, "id": "validation_Pharmacy_2", "options": "[]", "answer": "7.5",
                "question_type": "open", "image_2": None}  # fmt: skip
    name = "validation-00000-of-00001.parquet"
    parquet(folder / "Pharmacy" / name, [row, open_row])
    parquet(folder / "History" / name, [{**row, "id": "validation_History_1"}])


def medframeqa(folder):
    row = {
        "question_id": "q1", "question": "What do the frames show?",
        "options": ["a mass", "a cyst", "a stone"], "correct_answer": "C",
        "image_1": embedded(110), "image_2": embedded(111), "image_3": None, "image_4": None,
        "image_5": None, "system": "Urinary",
    }  # fmt: skip
    parquet(folder / "data" / "test-00000-of-00001.parquet", [row])


def gmai_mmbench(folder):
    folder.mkdir(parents=True, exist_ok=True)
    header = ["index", "image", "question", "A", "B", "C", "D", "E", "answer"]
    header += ["clinical vqa task", "department", "perceptual granularity"]
    image = base64.b64encode(png(120)).decode()
    groups = ["Disease Diagnosis", "Urology", "Image Level"]
    with (folder / "GMAI_mm_bench_VAL.tsv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(header)
        writer.writerow([1, image, "What is seen?", "cyst", "mass", "stone", "", "", "B", *groups])


def radimagenet_vqa(folder):
    metadata = {
        "content_type": "pathology", "correct_text": "cyst", "is_abnormal": True,
        "location": "kidney", "modality": "ct", "pathology": "cyst",
    }  # fmt: skip
    kinds = [("multiple_choice", ["mass", "cyst"], "B"), ("closed", None, "no")]
    kinds += [("open", None, "cyst")]
    rows = [
        {
            "image": embedded(130 + number), "question": "What is seen?", "choices": choices,
            "answer": answer, "question_type": kind,
            "metadata": {**metadata, "question_id": f"q{number}"},
        }
        for number, (kind, choices, answer) in enumerate(kinds)
    ]  # fmt: skip
    parquet(folder / "benchmark" / "test-00000-of-00001.parquet", rows)
    parquet(folder / "alignment" / "train-00000-of-00001.parquet", rows)


def vqa_med(folder):
    test = folder / "VQAMed2019Test"
    train = folder / "ImageClef-2019-VQA-Med-Training"
    (train / "Train_images").mkdir(parents=True)
    test.mkdir(parents=True)
    (train / "All_QA_Pairs_train.txt").write_text("synpic1|what is abnormal?|cyst#renal cyst\n")
    (train / "Train_images" / "synpic1.jpg").write_bytes(png(140))
    lines = ["synpic2|modality|is this a ct scan?|no", "synpic2|plane|what plane is this?|axial"]
    name = "VQAMed2019_Test_Questions_w_Ref_Answers.txt"
    (test / name).write_text("\n".join(lines) + "\n")
    with zipfile.ZipFile(test / "VQAMed2019_Test_Images.zip", "w") as archive:
        archive.writestr("VQAMed2019_Test_Images/synpic2.jpg", png(150))


WRITERS = {
    "vqa-rad": vqa_rad,
    "slake": slake,
    "path-vqa": path_vqa,
    "pmc-vqa": pmc_vqa,
    "omnimedvqa": omnimedvqa,
    "medxpertqa-mm": medxpertqa_mm,
    "mmmu-med": mmmu_med,
    "medframeqa": medframeqa,
    "gmai-mmbench": gmai_mmbench,
    "radimagenet-vqa": radimagenet_vqa,
    "vqa-med": vqa_med,
}


def write_source(name, folder):
    """The source of a benchmark: the folder, or the archive that was written in its place."""
    return WRITERS[name](folder) or folder
