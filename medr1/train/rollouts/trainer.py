"""A mixin for TRL's GRPOTrainer whose completions are sampled by a server.

    before each rollout, if the weights have changed:
        write them to a folder; the server empties its caches and loads them
    ask for G completions of each prompt, with token ids and log-probabilities
    end the run if the server has read other prompt tokens than the trainer scores
    ratio = pi_trainer(token) / pi_server(token)         TRL's importance sampling correction
    log |log pi_trainer - log pi_server|, which grows if the server's weights are old

Everything after sampling is as with local sampling: rewards, advantages, the passes over shared
prompts, the loss.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list, gather_object

from medr1.errors import InputError, Medr1Error
from medr1.train.rollouts.messages import (
    PngEncoder,
    chat_request,
    require_allowed_tokens,
    require_same_images,
    require_same_prompt,
)
from medr1.train.rollouts.server import RolloutAnswer, RolloutRequest, RolloutServer, Sampling
from medr1.train.rollouts.weights import weights_folder

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from trl import GRPOTrainer as _Trainer

    from medr1.train.inputs import Batch, Row
else:
    _Trainer = object

DIFFERENCE = "sampling/sampling_logp_difference"
"""Beginning of the names of metrics: TRL logs the mean and the maximum of the differences between
the log-probabilities of the sampled tokens in the trainer and on the server, in nats."""
BEYOND = "sampling/sequences_beyond_bounds"
"""The share of completions whose importance sampling ratio is outside TRL's bounds. In the modes
with `mask` these completions or tokens have no part in the loss."""
_SEEDS = 2**31
"""Number of seeds; some servers take 32 bits."""


class ServerRolloutMixin(_Trainer):
    """Mixin for TRL's GRPOTrainer: a server samples the completions.

    It stands before the trainer in the list of base classes. Without a server, it changes nothing.
    """

    rollout_server: RolloutServer | None = None
    """What samples; None: this process."""
    _prompts: Sequence[Sequence[Mapping[str, Any]]] = ()
    """The messages of the prompts that were tokenized last."""
    _item_ids: Sequence[str] = ()
    """The id of the item of each row of the batch."""
    _place = (-1, 0)
    """The number of updates before the last rollout, and that of rollouts since this update."""
    _loaded_step: int | None = None
    """The number of updates behind the server's weights; None: not known."""

    def sample_by_server(self, url: str) -> None:
        """Let a server sample the completions from now on.

        Args:
            url: Its address.

        Raises:
            InputError: The server lacks something, or the weights are sharded.
            Medr1Error: The server cannot be reached, or does not work.
        """
        kind = self.accelerator.distributed_type.value
        if kind in ("FSDP", "DEEPSPEED"):
            raise InputError(
                f"--rollout-url needs all weights in the first process, and {kind} shards them. "
                "Use DDP (torchrun)."
            )
        sampling = Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k or 0,
            min_p=self.min_p or 0.0,
            repetition_penalty=self.repetition_penalty,
            max_tokens=self.max_completion_length,
            end_tokens=tuple(self.eos_token_ids),
            suppressed_tokens=tuple(self.generation_config.suppress_tokens or ()),
        )
        self.rollout_server = RolloutServer.connect(url, sampling)
        # With it, TRL computes the log-probabilities of the policy that is trained before the
        # update, and corrects the loss by their difference from those of the server.
        self.use_vllm = True

    def _tokenize_prompts(
        self, prompts: list[Any]
    ) -> tuple[list[list[int]], list[list[Image]] | None, Batch]:
        self._prompts = prompts
        ids, images, fields = super()._tokenize_prompts(prompts)
        return ids, images, fields

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: list[list[Image]] | None,
        multimodal_fields: Batch,
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        if self.rollout_server is None:
            arguments = prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            token_ids, logprobs = super()._generate_single_turn(*arguments)  # type: ignore[no-untyped-call]
            return token_ids, logprobs
        if self.state.global_step != self._loaded_step:
            self._reload(self.rollout_server)
        step, count = self._place
        is_next = step == self.state.global_step
        self._place = (self.state.global_step, count + 1 if is_next else 0)
        messages, answers = [], []
        try:
            answers = self._ask(self.rollout_server, prompt_ids, images)
        except Medr1Error as error:
            messages.append(f"step {self.state.global_step + 1}: {error}")
        # the other processes would wait for this one in TRL's next gather
        if all_messages := gather_object(messages):
            raise InputError(all_messages[0])
        return (
            [ids for answer in answers for ids in answer.token_ids],
            [values for answer in answers for values in answer.logprobs],
        )

    def _ask(
        self,
        server: RolloutServer,
        prompt_ids: Sequence[Sequence[int]],
        images: Sequence[Sequence[Image]] | None,
    ) -> list[RolloutAnswer]:
        """The server's answer to each prompt, after all checks."""
        # With shared prompts, a prompt stands for all its completions; else for one of them.
        count = len(prompt_ids) // len(self._prompts)
        encoder, requests = PngEncoder(), []
        arguments = self.chat_template_kwargs or {}
        assert isinstance(arguments, dict), "convert_values has read it"
        for number, prompt in enumerate(self._prompts):
            row = number * count
            messages, hashes = chat_request(prompt, encoder)
            require_same_images(self._item_ids[row], hashes, images[row] if images else None)
            seed = self._seed_of(number)
            requests.append(RolloutRequest(messages, count, seed, arguments))
        answers = server.sample(requests)
        for number, answer in enumerate(answers):
            row = number * count
            require_same_prompt(self._item_ids[row], answer, prompt_ids[row], self._tokenizer)
            require_allowed_tokens(self._item_ids[row], answer, server.sampling.suppressed_tokens)
        return answers

    def _seed_of(self, number: int) -> int:
        """The seed of a prompt's completions, by which a resumed run draws the same ones."""
        place = (self.args.seed, *self._place, self.accelerator.process_index, number)
        digest = hashlib.sha256(repr(place).encode()).digest()
        return int.from_bytes(digest[:8], "big") % _SEEDS

    def _reload(self, server: RolloutServer) -> None:
        """Give the server the weights of the policy; only the first process does it."""
        message = ""
        if self.accelerator.is_main_process:
            policy = self.accelerator.unwrap_model(self.model)
            try:
                with weights_folder(policy, self._run_folder, self.state.global_step) as folder:
                    server.reload(folder)
            except Medr1Error as error:
                message = str(error)
        (message,) = broadcast_object_list([message])
        if message:
            raise Medr1Error(message)
        self._loaded_step = self.state.global_step

    @property
    def _run_folder(self) -> Path:
        from pathlib import Path

        return Path(str(self.args.output_dir))

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        self._item_ids = [str(row.get("id")) for row in inputs]
        batch: Batch = super()._generate_and_score_completions(inputs)
        if self.rollout_server is not None:
            self._log_differences(batch)
        return batch

    def _log_differences(self, batch: Batch) -> None:
        """Log what TRL does not about the server's log-probabilities."""
        assert self.model is not None
        mask = batch["completion_mask"].bool()
        differences = (batch["old_per_token_logps"] - batch["sampling_per_token_logps"]) * mask
        by_sequence = self.vllm_importance_sampling_mode.startswith("sequence")
        log_ratios = differences.sum(-1, keepdim=True) if by_sequence else differences
        most = self.vllm_importance_sampling_clip_max or math.inf
        least = self.vllm_importance_sampling_clip_min or 0.0
        ratios = log_ratios.exp()
        beyond = ((ratios > most) | (ratios < least)).any(-1)
        all_differences = torch.tensor(gather_object(differences[mask].abs().tolist()))
        all_beyond = gather_object(beyond.tolist())
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics[f"{DIFFERENCE}/p99"].append(float(all_differences.quantile(0.99)))
        metrics[BEYOND].append(sum(all_beyond) / len(all_beyond))
