"""The list of private methods that medr1 overrides and calls: complete, and as in the libraries."""

import ast
import inspect
import pkgutil
import re
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("trl")

from trl import GRPOTrainer, SFTTrainer

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config, tiny_vl_folder, tiny_vqa_folder
from medr1.models.loading import load_outline
from medr1.train import library_internals
from medr1.train.dynamic_sampling import DynamicSamplingMixin
from medr1.train.gathered_weights import GatheredWeightsMixin
from medr1.train.library_internals import ATTRIBUTES, FUNCTIONS, READ_IN, Function, changes
from medr1.train.masked_image import MaskedImageMixin
from medr1.train.monitoring.completions_log import CompletionLogMixin
from medr1.train.question_order import QuestionOrderMixin
from medr1.train.recovery.exact_resume import ExactResumeMixin
from medr1.train.recovery.nonfinite_guard import NonFiniteGuardMixin
from medr1.train.rollouts.trainer import ServerRolloutMixin
from medr1.train.run import resolve_plan
from medr1.train.settings import settings_from
from medr1.train.shared_prefix.arranged_batches import ArrangedBatchesMixin
from medr1.train.shared_prefix.trainer import SharedPrefixTrainer
from medr1.train.without_image import WithoutImageMixin

FOLDER = Path(library_internals.__file__).parent
BASES = {
    ExactResumeMixin: (GRPOTrainer, SFTTrainer),
    NonFiniteGuardMixin: (GRPOTrainer, SFTTrainer),
    CompletionLogMixin: (GRPOTrainer,),
    GatheredWeightsMixin: (GRPOTrainer,),
    DynamicSamplingMixin: (GRPOTrainer,),
    QuestionOrderMixin: (GRPOTrainer,),
    ArrangedBatchesMixin: (GRPOTrainer,),
    WithoutImageMixin: (GRPOTrainer,),
    MaskedImageMixin: (GRPOTrainer,),
    ServerRolloutMixin: (GRPOTrainer,),
    SharedPrefixTrainer: (GRPOTrainer,),
}
"""Class of medr1 -> the trainers that it is put before."""
PYTHONS_OWN = {"os._exit"}


def last_name(path: str) -> str:
    return re.split("[:.]", path)[-1]


def test_the_functions_are_those_of_the_installed_libraries():
    assert not list(changes())


def test_the_attributes_are_in_the_source_of_the_installed_libraries():
    for attribute in ATTRIBUTES:
        source = inspect.getsource(pkgutil.resolve_name(attribute.owner))
        assert re.search(rf"\bself\.{attribute.name}\b[^=\n]* = ", source), attribute


def test_every_method_that_is_overridden_is_listed():
    listed = {id(pkgutil.resolve_name(function.path)) for function in FUNCTIONS}
    for mixin, trainers in BASES.items():
        for trainer in trainers:
            for name in vars(mixin):
                method = getattr(trainer, name, None)
                if inspect.isfunction(method) and not name.startswith("__"):
                    assert id(method) in listed, f"{mixin.__name__} overrides {method.__qualname__}"


def test_every_class_that_is_put_before_a_trainer_is_checked():
    sources = {path: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.py")}
    bases = r"class (\w+)\((?:_?Trainer|GRPOTrainer|SFTTrainer)\):"
    classes = {name for text in sources.values() for name in re.findall(bases, text)}
    assert classes == {mixin.__name__ for mixin in BASES}


def test_every_private_name_that_is_used_is_listed():
    listed = {last_name(function.path) for function in FUNCTIONS}
    listed |= {attribute.name for attribute in ATTRIBUTES}
    of_trainers = {
        name
        for trainer in (GRPOTrainer, SFTTrainer)
        for base in trainer.__mro__[:-1]
        for name in re.findall(r"\bself\.(_\w+)", inspect.getsource(base))
    }
    for path in FOLDER.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined = _defined_names(tree) - of_trainers
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
                is_listed = node.attr in listed | defined or ast.unparse(node) in PYTHONS_OWN
                assert is_listed, f"{path.name}:{node.lineno} {ast.unparse(node)}"
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
                name = ast.unparse(node.args[1]).strip("'")
                is_private = re.match(r"_[a-z]", name)
                assert name in listed | defined or not is_private, ast.unparse(node)
            elif isinstance(node, ast.ImportFrom) and re.search(r"\._[a-z]", node.module or ""):
                assert listed >= {alias.name for alias in node.names}, ast.unparse(node)


def _defined_names(tree: ast.Module) -> set[str]:
    """The names of the functions, of the fields of classes, and of the attributes of `self`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            for target in (name for part in targets for name in ast.walk(part)):
                if isinstance(target, ast.Name):
                    names.add(target.id)
                elif ast.unparse(target).startswith("self."):
                    names.add(ast.unparse(target).removeprefix("self."))
    return names


def test_every_use_is_in_the_file_that_is_named():
    for entry in (*FUNCTIONS, *ATTRIBUTES):
        text = (FOLDER / entry.used_in).read_text(encoding="utf-8")
        name = entry.name if not isinstance(entry, Function) else last_name(entry.path)
        assert re.search(rf"\b{name.replace('add_', '')}\b", text), entry


@pytest.mark.parametrize(
    ("parameters", "path", "installed"),
    [
        ("(self, rows)", "trl:GRPOTrainer._compute_loss", r"\(self, model, inputs\)"),
        ("(self)", "trl:GRPOTrainer._gone", "missing"),
        ("(self)", "trl.gone:Gone.gone", "missing"),
    ],
)
def test_a_change_is_told_with_its_place(parameters, path, installed):
    function = Function(path, parameters, "shared_prefix/trainer.py", "returns the loss")
    (sentence,) = changes((function,))
    name = path.split(":")[1]
    assert re.fullmatch(
        rf"trl {version('trl')}: {name} is {installed}, and was {re.escape(parameters)} in "
        rf"{READ_IN['trl']}\. medr1/train/shared_prefix/trainer\.py uses it, and needs: returns "
        rf"the loss\. If that is not so, results are wrong: install trl=={READ_IN['trl']}\.",
        sentence,
    )


def test_a_run_warns_of_a_change(monkeypatch, tmp_path, caplog):
    questions = read_questions(tiny_vqa_folder() / "train.json", limit=8)
    outline = load_outline(tiny_vl_folder(), device="cpu")
    settings = settings_from(tiny_config(), tmp_path)
    resolve_plan(outline, questions, settings)
    assert not caplog.messages
    monkeypatch.setattr(GRPOTrainer, "_tokenize_prompts", lambda self, prompts, images: None)
    resolve_plan(outline, questions, settings)
    (message,) = caplog.messages
    assert "_tokenize_prompts is (self, prompts, images), and was (self, prompts)" in message
