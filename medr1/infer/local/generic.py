"""The generic engine: any image-text-to-text model, through its own processor and `generate`.

It asks one prompt at a time, and runs the vision tower again in each pass:

    for each question, for each rotation of its options:
        inputs     = the prompt and its images, by the processor's chat template
        completion = transformers' `generate`, greedy or sampled
        log-probs  = of each option's answer string, by a pass over prompt and string for each

That is slower than `local.engine`, which knows the architectures of Qwen; the results are of the
same kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from medr1.data.images import LoadedImage, load_image
from medr1.data.roots import resolve_image
from medr1.errors import InputError, ItemError
from medr1.infer.ablation import ablate, change_notes, shown_image
from medr1.infer.engine import Capabilities, Engine, EngineIdentity, InferencePlan
from medr1.infer.local.engine import local_identity
from medr1.infer.local.generation import token_drawer
from medr1.infer.local.inputs import is_out_of_memory
from medr1.infer.local.texts import (
    Completion,
    cut_at_end,
    prefill_tokens,
    reasoning_and_strings,
    whole_text,
)
from medr1.infer.options import answer_strings, normalized_probabilities, reasons_first
from medr1.infer.predictions import (
    CompletionLogprobs,
    Rotation,
    RotationOutput,
    assemble,
    failed_prediction,
    prefill_text,
    prompt_for,
    rotations,
    sampling_seed,
)
from medr1.models.calls import greedy_tokens
from medr1.models.families.family import prompt_inputs
from medr1.models.loading import LoadedModel, control_tokens
from medr1.prompts import as_plain_text, chat_messages, with_images
from medr1.records import Failure, Prediction, Sample

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers import BatchFeature
    from transformers.generation.streamers import BaseStreamer


@dataclass(frozen=True)
class GenericEngine(Engine):
    """A model of any family in this process."""

    loaded: LoadedModel
    streamer: BaseStreamer | None = None
    """A transformers streamer, which receives the answer's completion while it is generated."""

    @property
    def capabilities(self) -> Capabilities:
        """Everything but passes with dropout."""
        return Capabilities("exact", dropout=False, token_logprobs="both", continues=True)

    def identity(self) -> EngineIdentity:
        """The checkpoint with its hash, the device and the versions of the libraries."""
        return local_identity(self.loaded)

    def predict(
        self, samples: Sequence[Sample], plan: InferencePlan
    ) -> Iterator[dict[int, Prediction]]:
        """Answer the questions of a plan one after the other.

        Args:
            samples: As in `Engine.predict`.
            plan: As in `Engine.predict`.
        """
        import torch

        questioner = _GenericQuestioner(self.loaded, plan, self.streamer)
        with torch.inference_mode():
            for batch in plan.batches:
                yield {index: questioner.answer(index, samples[index]) for index in batch}


@dataclass(frozen=True)
class _GenericQuestioner:
    """Asks one question at a time."""

    loaded: LoadedModel
    plan: InferencePlan
    streamer: BaseStreamer | None

    @cached_property
    def _control_tokens(self) -> list[str]:
        return control_tokens(self.loaded.processor)

    def answer(self, index: int, sample: Sample) -> Prediction:
        """Ask one question.

        Args:
            index: Position of the question in the input.
            sample: The question.
        """
        if failure := self.plan.failures.get(index):
            return Prediction(sample, error=failure)
        try:
            images = [load_image(resolve_image(n, self.plan.image_root)) for n in sample.images]
            return self._ask(index, sample, images)
        except ItemError as error:
            return Prediction(sample, error=Failure(error.code, str(error)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        reason = "it does not fit into memory; use a smaller image, or another device"
        return failed_prediction(sample, "out_of_memory", reason)

    def _ask(self, index: int, sample: Sample, loaded: Sequence[LoadedImage]) -> Prediction:
        decoding, info = self.plan.decoding, self.loaded.info
        perturbation = self.plan.perturbations.get(index)
        images = [
            shown_image(name, image.image, perturbation, decoding.ablate_image, self.plan.seed)
            for name, image in zip(sample.images, loaded, strict=True)
        ]
        changes = change_notes(perturbation, decoding.ablate_image)
        notes = tuple(note for image in loaded for note in image.notes + changes)
        prompt = prompt_for(sample, self.plan.prompt, info.prompt)
        orders = rotations(as_plain_text(sample, self._control_tokens), decoding.permute)
        strings = [answer_strings(order.sample, prompt, info.answer_style) for order in orders]
        if decoding.mode == "options" and not strings[0]:
            return failed_prediction(sample, "no_options", "it has no options to score", notes)
        start = self.plan.prefills.get(index)
        prefill = prefill_text(start, self._control_tokens)
        outputs = [
            self._rotation_output(
                order, prompt, strings[number], images, prefill, is_answer=number == 0
            )
            for number, order in enumerate(orders)
        ]
        return assemble(
            *(sample, orders, outputs, strings[0]),
            mode=decoding.mode,
            notes=notes,
            reasoning_from=start.source_id if start else None,
        )

    def _rotation_output(
        self,
        order: Rotation,
        prompt: str,
        strings: Mapping[str, str],
        images: Sequence[Image],
        prefill: str,
        *,
        is_answer: bool,
    ) -> RotationOutput:
        """Run the model on a question with its options in one order.

        `is_answer`: the completion is the prediction's answer; otherwise only the probabilities
        are used.
        """
        decoding, sample = self.plan.decoding, order.sample
        generates = decoding.mode != "options"
        is_scored = bool(strings) and decoding.mode != "generate"
        inputs = self._inputs(sample, prompt, images, prefill)
        completion: Completion | None = None
        if generates and (is_answer or reasons_first(prompt)):
            seed = sampling_seed(self.plan.seed, 0, sample.id) if decoding.do_sample else None
            completion = self._complete(inputs, seed, self.streamer if is_answer else None)
        probabilities = None
        if is_scored:
            before = completion if reasons_first(prompt) else None
            reasoning, token_ids = reasoning_and_strings(self.loaded, strings.values(), before)
            logps = [sum(self._logps(inputs, reasoning, string)) for string in token_ids]
            if logps:
                probabilities = normalized_probabilities(dict(zip(strings, logps, strict=True)))
        numbers = range(1, decoding.num_samples + 1) if generates and is_answer else range(0)
        seeds = [sampling_seed(self.plan.seed, number, sample.id) for number in numbers]
        return RotationOutput(
            whole_text(self.loaded, prefill, completion) if completion else None,
            len(completion.token_ids) if completion else None,
            completion.finish_reason if completion else None,
            tuple(
                whole_text(self.loaded, prefill, self._complete(inputs, seed, None))
                for seed in seeds
            ),
            probabilities,
            token_logprobs=self._token_logprobs(order, prompt, images, prefill, inputs, completion)
            if completion and is_answer and decoding.token_logprobs
            else None,
        )

    def _token_logprobs(
        self,
        order: Rotation,
        prompt: str,
        images: Sequence[Image],
        prefill: str,
        inputs: BatchFeature,
        completion: Completion,
    ) -> CompletionLogprobs:
        """The log-probability of each token of a completion, with the images and without."""
        with_image = self._logps(inputs, [], completion.token_ids)
        if not images:
            return CompletionLogprobs(with_image)
        grey = [ablate(image, "blank", "") for image in images]
        blank_inputs = self._inputs(order.sample, prompt, grey, prefill)
        return CompletionLogprobs(with_image, self._logps(blank_inputs, [], completion.token_ids))

    def _inputs(
        self, sample: Sample, prompt: str, images: Sequence[Image], prefill: str
    ) -> BatchFeature:
        """The model's inputs for one prompt and prefill; ItemError if they are too long."""
        import torch

        messages = chat_messages(sample, prompt, self.loaded.info.answer_style)
        parts = [{"type": "image", "image": image} for image in images]
        inputs = prompt_inputs(self.loaded.processor, with_images(messages, parts))
        if prefill:
            added = torch.tensor([prefill_tokens(self.loaded, prefill)])
            inputs.update({name: _extended(name, value, added) for name, value in inputs.items()})
        text_config = self.loaded.model.config.get_text_config()
        max_positions = getattr(text_config, "max_position_embeddings", None)
        max_new_tokens = self.plan.decoding.max_new_tokens
        if max_positions is not None:
            if max_positions <= max_new_tokens:
                raise InputError(
                    f"--max-new-tokens {max_new_tokens} leaves no room for a prompt: the model "
                    f"takes {max_positions} tokens in all. Give a smaller number."
                )
            if inputs["input_ids"].shape[1] > max_positions - max_new_tokens:
                raise ItemError(
                    "prompt_too_long",
                    f"item {sample.id}: the prompt has {inputs['input_ids'].shape[1]} tokens, and "
                    f"the model takes at most {max_positions - max_new_tokens} besides its answer. "
                    "Shorten the question, or use smaller or fewer images (of a scan: --slices).",
                )
        return inputs.to(self.loaded.device, self.loaded.dtype)

    def _complete(
        self, inputs: BatchFeature, seed: int | None, streamer: BaseStreamer | None
    ) -> Completion:
        """One completion: sampled with a seed, greedy without."""
        import torch
        from transformers import LogitsProcessorList

        max_new_tokens = self.plan.decoding.max_new_tokens
        prompt_length = inputs["input_ids"].shape[1]
        processors = LogitsProcessorList()
        if seed is not None:
            # Drawn on the CPU: the same on every device.
            draws = torch.rand(max_new_tokens, generator=torch.Generator().manual_seed(seed))
            temperature = self.plan.decoding.temperature
            draws_RT = draws[None].to(self.loaded.device)
            processors.append(token_drawer(draws_RT, prompt_length, temperature))
        output = greedy_tokens(
            self.loaded.model,
            **inputs,
            max_new_tokens=max_new_tokens,
            streamer=streamer,
            logits_processor=processors,
        )
        return cut_at_end(self.loaded, output[0, prompt_length:].tolist())

    def _logps(self, inputs: BatchFeature, reasoning: list[int], string: list[int]) -> list[float]:
        """The log-probability of each token of a string after the prompt and the reasoning."""
        import torch

        if not string:
            return []
        added = torch.tensor([[*reasoning, *string]], device=self.loaded.device)
        extended = {name: _extended(name, value, added) for name, value in inputs.items()}
        logits = self.loaded.model(**extended).logits
        # The token at position p is predicted at p - 1.
        logps = logits[0, -len(string) - 1 : -1].float().log_softmax(-1)
        token_logps: list[float] = logps[range(len(string)), string].tolist()
        return token_logps


def _extended(name: str, value: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """An input of the prompt, with the tokens `added` behind it.

    Of the inputs with an entry for each token, the ids get the tokens, the attention mask ones, and
    the others, such as token types, zeros: the tokens are text.
    """
    import torch

    if name == "input_ids":
        return torch.cat([value, added], dim=1)
    if name == "attention_mask":
        return torch.cat([value, torch.ones_like(added)], dim=1)
    if name in ("token_type_ids", "mm_token_type_ids"):
        return torch.cat([value, torch.zeros_like(added)], dim=1)
    return value
