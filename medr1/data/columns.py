"""The usual names of columns, and which column of a person's own file has which field.

Files that medr1 and the known projects write have exact keys (`data/items.py` and, for results,
`evaluate/reading/entries.py`); these always come first. Only a field that has none of its exact
keys is looked up here. Names are compared without case, accents, spaces and punctuation, and
without a final remark in parentheses: "Ground truth" and "groundTruth (English)" are one name.

The rules, in this order:

1. --map decides.
2. An exact key decides.
3. A clear name comes before a weak one ("pred" before "text"). Two names of the same rank for one
   field are refused, with the --map that decides.
4. A column "answer" may be either side. Beside a ground truth it is the prediction, and beside a
   prediction the ground truth. In a file of questions, or beside neither in results whose ground
   truths come from --data, it is the one that is missing. Beside neither in other results it is
   refused. Beside both it is metadata.
5. The row number that pandas writes ("Unnamed: 0") is an id only if there is no question.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from medr1.errors import InputError
from medr1.records import LETTERS

ROW_NUMBER = "Unnamed: 0"
"""The name that pandas gives to the numbers of rows; `json_layouts` uses it too."""

_CLEAR: dict[str, str] = {
    "id": "id, question id, qid, item id, sample id, doc id, custom id, uid, uuid, example id",
    "image": "image, images, image path, image paths, image file, image filename, image name, "
    "image url, img, imgs, img path, img name, img file, figure path, figure, picture, photo, "
    "scan, bild, bilder, bilddatei, bildname, bildpfad, imagen, imagenes, archivo de imagen, "
    "ruta imagen, immagine, imagem, fichier image, nom image, chemin image",
    "question": "question, questions, question text, problem, frage, fragen, fragetext, "
    "fragestellung, question posee, texte de la question, pregunta, preguntas, domanda, pergunta",
    "ground_truth": "ground truth, ground truth answer, ground truths, gt, gt answer, gold, gold "
    "answer, gold answers, gold label, gold standard, true answer, true label, truth, y true, "
    "solution, correct answer, correct answers, desired answer, correct option, correct choice, "
    "correct label, right answer, reference answer, reference standard, expected answer, answer "
    "key, target answer, richtige antwort, korrekte antwort, referenzantwort, musterantwort, "
    "musterlosung, losung, grundwahrheit, wahrheit, reponse correcte, bonne reponse, reponse "
    "attendue, reponse de reference, verite terrain, verite, respuesta correcta, respuesta "
    "esperada, respuesta deseada, respuesta de referencia, verdad, solucion, risposta corretta, "
    "risposta esatta, resposta correta, resposta certa, resposta esperada, gabarito",
    "prediction": "prediction, predictions, predicted, predicted answer, predicted label, pred, "
    "preds, pred answer, y pred, model output, model answer, model response, model prediction, "
    "model reply, model completion, models answer, models response, model generated answer, raw "
    "output, raw response, response, reply, output, completion, generation, generated, generated "
    "text, generated answer, generated response, ai answer, ai response, ai output, llm answer, "
    "llm response, llm output, vlm answer, vlm response, vlm output, system output, system "
    "answer, chosen option, chosen answer, selected option, selected answer, hypothesis, "
    "modellantwort, antwort des modells, antwort modell, modellausgabe, ki antwort, vorhersage, "
    "reponse du modele, reponse modele, reponse ia, reponse predite, respuesta del modelo, "
    "respuesta modelo, respuesta predicha, prediccion, risposta del modello, risposta modello, "
    "predizione, resposta do modelo, resposta modelo, predicao",
    "options": "options, choices, answer options, answer choices, candidates, antwortoptionen, "
    "antwortmoglichkeiten, opciones, opzioni, opcoes, choix",
    "answer_type": "answer type",
    "question_type": "question type, fragetyp",
    "modality": "modality, modality type, imaging modality, modalitat, modalite, modalidad",
    "dataset": "dataset, data set, datensatz",
    "extracted_answer": "extracted answer, parsed answer, extracted prediction",
    "confidence": "confidence, confidence score, konfidenz",
    "problem": "",
    "content": "",
    "num_tokens": "num tokens",
}
"""Field -> its usual names, of which each alone is clear."""
_WEAK: dict[str, str] = {
    "id": "index, idx",
    "image": "file, filename, file name, path, file path, image id, img id, datei, dateiname, "
    "fichier, archivo",
    "question": "prompt, query, input, q, instruction",
    "ground_truth": "label, labels, target, targets, reference, references, expected, cop, "
    "etikett, etiquette, etiqueta, referenz, referencia",
    "prediction": "text, content, result, response text",
}
"""Field -> names that are used only where no clear name is there."""
_EITHER_SIDE = (
    "answer, answers, antwort, antworten, reponse, reponses, respuesta, risposta, resposta"
)
"""Names of the ground truth or of the prediction: rule 4."""
_OPTION = re.compile(r"(?:option|choice|opt|op|auswahl|opcion|opzione|opcao|choix)([a-h]|[1-8])")
_IMAGE_FILE = re.compile(r"\.(png|jpe?g|dcm|tiff?|bmp|webp|gif|nii|nii\.gz)$", re.IGNORECASE)
_MAX_NAME = 100
"""Characters of a column's name; a longer one is data."""
_KEYS_OF_A_REWARD = {"content": "prediction", "solution": "ground_truth", "problem": "question"}
"""Field of `medr1 rewards` -> the field with the same usual names."""

Kind = Literal["questions", "results", "completions"]
"""What a file has: questions, results with answers of a model, or the completions of rewards."""
_FIELDS: dict[Kind, tuple[str, ...]] = {
    "questions": ("id", "image", "question", "ground_truth", "options", "answer_type",
                  "question_type", "modality", "dataset"),
    "results": ("id", "image", "question", "ground_truth", "prediction", "options", "answer_type",
                "question_type", "modality", "dataset", "extracted_answer", "confidence"),
    "completions": ("problem", "solution", "content", "num_tokens"),
}  # fmt: skip


@dataclass(frozen=True)
class Match:
    """Which column has which field, where the exact keys do not tell."""

    columns: dict[str, str]
    """Field -> column. Fields with an exact key or a --map are not in it."""
    missing: tuple[str, ...] = ()
    """Required fields that no column has."""
    ambiguous: tuple[str, tuple[str, ...]] | None = None
    """A field and the columns that could each have it; None if there is no such field."""

    def sentence(self, path: object) -> str:
        """The line that tells which columns were recognised; "" if there are none.

        Args:
            path: The file.
        """
        pairs = ", ".join(f"{column} -> {field}" for field, column in self.columns.items())
        return f"Columns: {pairs} ({path})" if pairs else ""


def folded(name: str) -> str:
    """The name for comparisons: only its letters and digits, in lower case, without accents."""
    name = re.sub(r"\s*\([^()]*\)\s*$", "", name) or name
    name = unicodedata.normalize("NFKD", name.casefold())
    return "".join(character for character in name if character.isalnum())


def _names(table: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Field -> its names as `folded` writes them."""
    fields = {field: frozenset(map(folded, filter(None, names.split(", "))))
              for field, names in table.items()}  # fmt: skip
    return fields | {
        own: fields[field] for own, field in _KEYS_OF_A_REWARD.items() if field in fields
    }


_CLEAR_NAMES = _names(_CLEAR)
_WEAK_NAMES = _names(_WEAK)
_ANSWERS = frozenset(map(folded, _EITHER_SIDE.split(", ")))
_KNOWN = frozenset().union(*_CLEAR_NAMES.values(), *_WEAK_NAMES.values(), _ANSWERS)


def known_names(names: Iterable[str]) -> int:
    """How many of these names of columns are usual ones."""
    return sum(folded(name) in _KNOWN or bool(_OPTION.fullmatch(folded(name))) for name in names)


def names_of_items(items: Iterable[Mapping[str, object]]) -> list[str]:
    """The keys of items of JSON whose names can be looked up.

    A key such as "A" with a number is left out: it is a probability or score, and no option.
    """
    names: dict[str, bool] = {}
    for item in items:
        for key, value in item.items():
            is_score = len(key) == 1 and isinstance(value, int | float)
            names[key] = names.get(key, True) and not is_score
    return [name for name, is_name in names.items() if is_name]


def match_columns(
    names: Sequence[str],
    exact: Mapping[str, Collection[str]],
    mapped: Mapping[str, str],
    *,
    kind: Kind,
    required: Sequence[str] = (),
) -> Match:
    """Which column of a file has which field.

    Args:
        names: The columns of a table, or the keys of a file's items.
        exact: Field -> the keys that are read as this field without any table.
        mapped: The --map options: field -> column.
        kind: What the file has.
        required: Fields that must be there.

    Returns:
        The columns of the fields that neither --map nor an exact key names.
    """
    prediction, truth = ("content", "solution") if kind == "completions" else (
        "prediction", "ground_truth")  # fmt: skip
    stated = {*names, *mapped}
    decided = {f for f in _FIELDS[kind] if f in mapped or stated.intersection(exact[f])}
    exact_keys = {key for keys in exact.values() for key in keys}
    free = [n for n in names if n and n not in mapped.values() and n not in exact_keys]
    columns: dict[str, str] = {}
    ambiguous: list[tuple[str, tuple[str, ...]]] = []
    answers = [name for name in free if folded(name) in _ANSWERS]
    for field in _FIELDS[kind]:
        if field in decided:
            continue
        candidates = _candidates(field, free)
        is_clear = bool(candidates) and folded(candidates[0]) in _CLEAR_NAMES[field]
        other = {truth: prediction, prediction: truth}.get(field)
        if other and answers and not is_clear and _has(other, free, decided, kind):
            candidates += answers
        if len(candidates) > 1:
            ambiguous.append((field, tuple(candidates)))
        elif candidates:
            columns[field] = candidates[0]
    sides = [side for side in (prediction, truth) if side in _FIELDS[kind]]
    _give_answers(columns, answers, decided, ambiguous, sides, required)
    if "id" in _FIELDS[kind] and not {"id", "question"} & {*decided, *columns}:
        numbers = [name for name in free if folded(name) == folded(ROW_NUMBER)]
        columns |= {"id": numbers[0]} if numbers else {}
    if kind != "completions" and not {"options"} & {*decided, *columns}:
        columns |= _options(free)
    unclear = {field for field, _ in ambiguous}
    present = decided | columns.keys() | unclear
    missing = tuple(field for field in required if field not in present)
    return Match(columns, missing, ambiguous[0] if ambiguous else None)


def _candidates(field: str, free: Sequence[str]) -> list[str]:
    """The columns with a clear name of a field, else those with a weak one."""
    clear = [name for name in free if folded(name) in _CLEAR_NAMES[field]]
    return clear or [name for name in free if folded(name) in _WEAK_NAMES.get(field, ())]


def _has(field: str, free: Sequence[str], decided: Collection[str], kind: Kind) -> bool:
    """Whether a column has this field, or the kind of file does not have the field at all."""
    return field in decided or field not in _FIELDS[kind] or bool(_candidates(field, free))


def _give_answers(
    columns: dict[str, str],
    answers: Sequence[str],
    decided: Collection[str],
    ambiguous: list[tuple[str, tuple[str, ...]]],
    sides: Sequence[str],
    required: Sequence[str],
) -> None:
    """Rule 4: add the column "answer" to `columns`, or to `ambiguous`.

    Args:
        columns: Field -> column, so far.
        answers: The columns that are called "answer" in some language.
        decided: Fields with an exact key or a --map.
        ambiguous: Fields with the columns that could have them, so far.
        sides: Of the fields prediction and ground_truth, those that the kind of file has.
        required: Fields that must be there.
    """
    unclear = {field for field, _ in ambiguous}
    open_sides = [s for s in sides if s not in {*decided, *columns, *unclear}]
    sides_to_fill = [side for side in open_sides if side in required] or open_sides
    free = [name for name in answers if name not in columns.values()]
    if not free or not sides_to_fill:
        return
    if len(sides_to_fill) == 1 and len(free) == 1:
        columns[sides_to_fill[0]] = free[0]
    elif len(sides_to_fill) == 1:
        ambiguous.append((sides_to_fill[0], tuple(free)))


def _options(free: Sequence[str]) -> dict[str, str]:
    """option_A -> its column, from columns such as "A", "Choice A" or "Option 1"."""
    letters = {n.upper(): n for n in free if len(n) == 1 and n.upper() in tuple(LETTERS)}
    if not {"A", "B"} <= letters.keys():
        letters = {}
    columns = {f"option_{letter}": name for letter, name in letters.items()}
    for name in free:
        if match := _OPTION.fullmatch(folded(name)):
            letter = match[1].upper() if match[1].isalpha() else LETTERS[int(match[1]) - 1]
            columns.setdefault(f"option_{letter}", name)
    return dict(sorted(columns.items())) if len(columns) > 1 else {}


def looks_like_data(names: Sequence[str]) -> bool:
    """Whether the first line of a table has values, and not the names of its columns."""
    return any(
        _IMAGE_FILE.search(name)
        or name.rstrip().endswith("?")
        or len(name) > _MAX_NAME
        or re.fullmatch(r"[\d.,+-]+", name)
        for name in names
    )


def require_header(names: Sequence[str], path: object) -> None:
    """Refuse a table whose first line is already an item.

    Args:
        names: The cells of the first line.
        path: The file, for the message.

    Raises:
        InputError: If no cell is a usual name, and one can only be a value.
    """
    if looks_like_data(names) and not known_names(names):
        raise InputError(
            f"{path} has no line with the names of its columns: its first line is already an item "
            f"({', '.join(names)[:120]}). Put one above it, such as "
            "'image,question,ground_truth,prediction'."
        )


def map_options(fields: Mapping[str, str]) -> str:
    """The --map options as they are typed, such as "--map prediction='Model answer'".

    Args:
        fields: Field -> column.
    """
    return " ".join(f"--map {field}={shlex.quote(name)}" for field, name in fields.items())


def conversion(path: object, fields: Mapping[str, str]) -> str:
    """The command that renames columns of questions, for the commands that have no --map.

    Args:
        path: The file of questions.
        fields: Field -> column.
    """
    target = PurePath(str(path).partition("#")[0]).with_suffix(".renamed.json")
    files = f"{shlex.quote(str(path))} {shlex.quote(str(target))}"
    return f"medr1 data convert {files} {map_options(fields)}"


def ambiguous_columns(path: object, field: str, names: Sequence[str], kind: Kind) -> InputError:
    """The error that several columns could have one field.

    Args:
        path: The file.
        field: The field.
        names: The columns.
        kind: What the file has.
    """
    choice = {field: names[0]}
    command = f", or `{conversion(path, choice)}`" if kind == "questions" else ""
    return InputError(
        f"{path}: {' and '.join(map(repr, names))} could each be the {field}. Say which it is, "
        f"such as {map_options(choice)}{command}."
    )
