"""The private methods and attributes of TRL, transformers and torch that medr1 relies on.

They may change in any release without a note. Here is each one that medr1 overrides, replaces,
calls or reads, with its parameters in the versions of `READ_IN`, and what medr1 needs of it. Public
methods that medr1 overrides are listed too. A test compares the list with the installed versions,
and finds uses that are not in it; a run with other versions warns (`changes`).
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version

READ_IN = {"trl": "1.16.0", "transformers": "5.24.0", "torch": "2.15.0"}
"""Library -> the version in which the functions and attributes below were read."""


@dataclass(frozen=True)
class Function:
    """A method or function of a library that medr1 overrides, replaces or calls."""

    path: str
    """Where it is, as `pkgutil.resolve_name` takes it: `library.module:Class.method`."""
    parameters: str
    """Its parameters without annotations, as `parameters_of` returns them."""
    used_in: str
    """The file of medr1 that overrides, replaces or calls it."""
    need: str
    """What medr1 needs of it."""


@dataclass(frozen=True)
class Attribute:
    """A private attribute of a library's objects that medr1 reads or sets."""

    owner: str
    """The class whose source has it, as `pkgutil.resolve_name` takes it."""
    name: str
    """The name of the attribute."""
    used_in: str
    """The file of medr1 that reads or sets it."""
    need: str
    """What medr1 needs of it."""


_RESUME, _GUARD = "recovery/exact_resume.py", "recovery/nonfinite_guard.py"
_DYNAMIC = "dynamic_sampling.py"
_LOG, _SHARED = "monitoring/completions_log.py", "shared_prefix/trainer.py"
_ROLLOUTS, _BATCHES = "rollouts/trainer.py", "shared_prefix/arranged_batches.py"
_GENERATION, _ATTENTION = "shared_prefix/generation.py", "shared_prefix/attention.py"
_EAGER = "(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs)"
_ROPE = (
    "(self, input_ids, mm_token_type_ids, image_grid_thw=None, video_grid_thw=None, "
    "attention_mask=None, **kwargs)"
)
_POSITIONS = "returns positions (3, P, N) and rope deltas (P, 1) of prompts padded on the left"

FUNCTIONS = (
    # --- saving and resuming
    Function(
        *("transformers:Trainer._get_output_dir", "(self, trial)", _RESUME),
        "_save_checkpoint writes checkpoint-N below this folder",
    ),
    Function(
        *("trl:GRPOTrainer._save_checkpoint", "(self, model, trial)", _RESUME),
        "writes one complete checkpoint, and calls _save_rng_state and save_model",
    ),
    Function(
        *("trl:SFTTrainer._save_checkpoint", "(self, model, trial)", _RESUME),
        "as GRPOTrainer's",
    ),
    Function(
        *("transformers:Trainer._save_rng_state", "(self, output_dir)", _RESUME),
        "is called on every process for each checkpoint, with the folder it is written to",
    ),
    Function(
        *("transformers:Trainer._load_rng_state", "(self, checkpoint)", _RESUME),
        "is called on every process before the first step of a resumed run",
    ),
    Function(
        "transformers:Trainer._load_from_checkpoint",
        "(self, resume_from_checkpoint, model=None)",
        _RESUME,
        "loads only weights, before the optimizer's state is loaded",
    ),
    Function(
        *("transformers:Trainer._load_best_model", "(self)", _RESUME),
        "loads only weights, those of state.best_model_checkpoint",
    ),
    Function(
        "transformers:Trainer._init_training_state",
        "(self, max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, "
        "trial)",
        _RESUME,
        "returns the passes over the data that are done, and the batches of the next to skip; it "
        "is called after _get_train_sampler",
    ),
    Function(
        *("trl:GRPOTrainer._get_train_sampler", "(self, dataset=None)", _RESUME),
        "returns a sampler whose `generator` draws the order of every pass",
    ),
    Function(
        *("trl:GRPOTrainer._get_train_sampler", "(self, dataset=None)", "question_order.py"),
        "returns a sampler that yields positions in their order if `shuffle` is False",
    ),
    Function(
        *("transformers:Trainer._get_train_sampler", "(self, train_dataset=None)", _RESUME),
        "as GRPOTrainer's",
    ),
    Function(
        "transformers:Trainer.train",
        "(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None)",
        _RESUME,
        "begins at resume_from_checkpoint, a folder as text",
    ),
    Function(
        "transformers:Trainer.save_model",
        "(self, output_dir=None, _internal_call=False)",
        _GUARD,
        "writes the weights, of a checkpoint and at the end",
    ),
    Function(
        "trl:GRPOTrainer.create_model_card",
        "(self, model_name=None, dataset_name=None, tags=None)",
        _RESUME,
        "only writes README.md, so that leaving it out changes nothing else",
    ),
    Function(
        "torch.distributed.distributed_c10d:_set_pg_timeout",
        "(timeout, group=None)",
        _RESUME,
        "sets how long collective operations of the default group wait, also on CPUs",
    ),
    # --- finite numbers
    Function(
        "trl:GRPOTrainer.training_step",
        "(self, model, inputs, num_items_in_batch)",
        _GUARD,
        "returns the loss of one batch after its backward pass, before the optimizer steps",
    ),
    Function(
        *("trl:SFTTrainer.training_step", "(self, *args, **kwargs)", _GUARD),
        "as GRPOTrainer's",
    ),
    Function(
        *("transformers:Trainer._get_grad_norm", "(self, model, grad_norm=None)", _GUARD),
        "is called once for each update, before the optimizer steps; returns the norm or None",
    ),
    Function(
        *("trl:GRPOTrainer._prepare_inputs", "(self, generation_batch)", _GUARD),
        "returns one batch; entries of a generation that are lists are shuffled and split with it",
    ),
    Function(
        *("trl:GRPOTrainer._prepare_inputs", "(self, generation_batch)", _BATCHES),
        "keeps the batches of one generation in a list, and returns them one by one",
    ),
    Function(
        *("transformers:Trainer._prepare_inputs", "(self, inputs)", _GUARD),
        "returns one batch",
    ),
    # --- completions and rewards
    Function(
        "trl:GRPOTrainer._calculate_rewards",
        "(self, inputs, prompts, completions, completion_ids_list)",
        _GUARD,
        "returns the rewards (rows of all processes, rewards), gathered; `inputs` are the rows",
    ),
    Function(
        *("trl:GRPOTrainer._log_completion_extra", "(self, column, values)", _LOG),
        "puts values of this process's rows into _logs, with those of the other processes",
    ),
    Function(
        *("trl:GRPOTrainer._log_metric", "(self, name, value)", _LOG),
        "logs the mean of a number over the processes and steps",
    ),
    # --- further draws of dynamic sampling
    Function(
        *("trl:GRPOTrainer._generate", "(self, prompts)", _DYNAMIC),
        "gets the list of prompts that the batch is made of, and returns lists with a row for each "
        "completion: ids of prompts and completions, completions at 3, images at 6",
    ),
    # --- shared prompts
    Function(
        *("trl:GRPOTrainer._generate_and_score_completions", "(self, inputs)", _SHARED),
        "calls the four methods below, and returns a batch with one row per completion",
    ),
    Function(
        *("trl:GRPOTrainer._tokenize_prompts", "(self, prompts)", _SHARED),
        "gets the messages with their images, returns ids and images for each row, and the model's "
        "other inputs",
    ),
    Function(
        "trl:GRPOTrainer._generate_single_turn",
        "(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False)",
        _SHARED,
        "calls `generate` of the model within the adapter, once",
    ),
    Function(
        "trl:GRPOTrainer._get_per_token_logps_and_entropies",
        "(self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, "
        "compute_entropy=False, compute_aux_loss=False, pixel_values=None, image_grid_thw=None, "
        "num_images=None, pixel_attention_mask=None, spatial_shapes=None, num_tiles=None, "
        "image_sizes=None, token_type_ids=None, mm_token_type_ids=None, image_position_ids=None)",
        _SHARED,
        "returns log-probabilities and entropies (rows, tokens) of the completions, and a loss of "
        "experts",
    ),
    Function(
        *("trl:GRPOTrainer._compute_loss", "(self, model, inputs)", _SHARED),
        "gets the log-probabilities only from _get_per_token_logps_and_entropies",
    ),
    Function(
        "trl.trainer.utils:add_fused_lm_head",
        "(model, temperature=1.0, cast_lm_head_to_fp32=False, outputs=('log_probs',))",
        _SHARED,
        "makes model(..., shift_labels=..., fused_lm_head=True) return log_probs and entropy",
    ),
    Function(
        *("transformers:ProcessorMixin._process_images", "(self, images, **kwargs)", _SHARED),
        "returns patches, and the image text of each image; the processor calls it once per batch",
    ),
    Function(
        "transformers:GenerationMixin.generate",
        "(self, inputs=None, generation_config=None, logits_processor=None, "
        "stopping_criteria=None, prefix_allowed_tokens_fn=None, synced_gpus=None, "
        "assistant_model=None, streamer=None, negative_prompt_ids=None, "
        "negative_prompt_attention_mask=None, custom_generate=None, **kwargs)",
        _GENERATION,
        "continues from past_key_values; TRL calls it with the model's inputs by name. It gives "
        "the model the newest token of each row, and takes only the logits of the output",
    ),
    *(
        Function(f"transformers:{name}.get_rope_index", parameters, _GENERATION, _POSITIONS)
        for name, parameters in {
            "Qwen2VLModel": _ROPE,
            "Qwen2_5_VLModel": _ROPE.replace(
                "attention_mask", "second_per_grid_ts=None, attention_mask"
            ),
            "Qwen3VLModel": _ROPE,
            "Qwen3VLMoeModel": _ROPE,
        }.items()
    ),
    *(
        Function(
            f"transformers.models.{kind}.modeling_{kind}:eager_attention_forward",
            *(_EAGER, _ATTENTION),
            "adds the mask to the scores, and returns the output (P, T, H, D) and the weights",
        )
        for kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
    ),
    # --- settings
    Function(
        *("torch._inductor:list_mode_options", "(mode=None, dynamic=None)"),
        "dry_run/setting_checks.py",
        "returns the modes of torch.compile by name",
    ),
)
"""The functions of libraries that medr1 overrides, replaces or calls."""

_TRAINER, _GRPO, _SFT = "transformers:Trainer", "trl:GRPOTrainer", "trl:SFTTrainer"

ATTRIBUTES = (
    Attribute(_TRAINER, "_tr_loss", _RESUME, "the loss since the last logged line, a tensor"),
    Attribute(_GRPO, "_buffered_inputs", _BATCHES, "the batches of one generation, or None"),
    Attribute(_TRAINER, "_total_loss_scalar", _RESUME, "the loss before the last logged line"),
    Attribute(_TRAINER, "_globalstep_last_logged", _RESUME, "the step of the last logged line"),
    Attribute(_TRAINER, "_initial_global_step", _RESUME, "the step the total loss counts from"),
    *(
        attribute
        for owner in (_GRPO, _SFT)
        for attribute in (
            Attribute(owner, "_metrics", _RESUME, "mode -> metric -> values since the last line"),
            Attribute(owner, "_total_train_tokens", _RESUME, "the tokens that were trained on"),
        )
    ),
    Attribute(_GRPO, "_step", _RESUME, "the number of batches so far, also of a resumed run"),
    Attribute(_GRPO, "_logs", _LOG, "the completions of the last batch, by column"),
    Attribute(_GRPO, "_tokenizer", _ROLLOUTS, "the tokenizer of the processor"),
    Attribute(_GRPO, "_pending_extra_logs", _DYNAMIC, "the columns that rewards logged, by name"),
    Attribute(_GRPO, "_entropy_bonus_enabled", _SHARED, "whether the loss has an entropy bonus"),
    Attribute(
        *("transformers:PreTrainedConfig", "_attn_implementation", _ATTENTION),
        "the name of the model's attention, which may be set",
    ),
)
"""The private attributes of libraries that medr1 reads or sets."""


def parameters_of(function: Callable[..., object]) -> str:
    """The parameters of a function as text, without annotations, such as "(self, trial=None)"."""
    parameters = inspect.signature(function).parameters.values()
    plain = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
    return str(inspect.Signature(plain))


def changes(functions: tuple[Function, ...] = FUNCTIONS) -> Iterator[str]:
    """A sentence for each function that is missing from the installed libraries or has changed.

    The sentence names the function, the file of medr1 that uses it, and what that file needs.
    """
    for function in functions:
        library = function.path.split(":")[0].split(".")[0]
        try:
            installed = parameters_of(pkgutil.resolve_name(function.path))
        except (ImportError, AttributeError):
            installed = "missing"
        if installed != function.parameters:
            name = function.path.split(":")[1]
            yield (
                f"{library} {version(library)}: {name} is {installed}, and was "
                f"{function.parameters} in {READ_IN[library]}. medr1/train/{function.used_in} uses "
                f"it, and needs: {function.need}. If that is not so, results are wrong: install "
                f"{library}=={READ_IN[library]}."
            )
