"""The GRPO algorithm of the original (its grpo_trainer.py), rewritten to measure its speed.

Only bench_train.py uses it. One step has these parts:

    rollout     G completions of each prompt: the image is encoded once, the prompt is run G times
    reference   a second model, always, on G copies of image and prompt
    policy      G copies of image and prompt; the logits of all tokens, then log_softmax
    loss        -mean over completions of the mean over tokens of (ratio A - beta KL)

One difference: the original's `pixel_values.repeat(G, 1)` pairs images with the wrong rows if a
batch has several prompts; here each row has its own image. The caller passes the advantages.

Shapes: B rows (prompts times G), C completion tokens, T all tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl.data_utils import prepare_multimodal_messages

BETA = 0.04
"""Weight of the KL divergence in the loss."""


@dataclass
class Rollout:
    """A batch of completions with what the loss needs."""

    inputs: dict[str, torch.Tensor]
    """The arguments of the model's forward pass: prompts with completions, and images."""
    length: int
    """C, the number of completion tokens."""
    reference_BC: torch.Tensor
    """The reference model's log-probability of each completion token."""
    advantages_B: torch.Tensor


@dataclass(frozen=True)
class AuthorsGRPO:
    """The original's algorithm on a policy and a reference model."""

    policy: Any
    reference: Any
    processor: Any
    generations: int
    """G, the number of completions of a prompt."""
    length: int
    """The most tokens of a completion."""
    suppressed: Sequence[int]
    """Ids of the tokens that are never generated."""

    @torch.no_grad()
    def rollout(self, rows: Sequence[dict[str, Any]], advantages_B: torch.Tensor) -> Rollout:
        """Generate completions, and compute the reference model's log-probabilities of them.

        Args:
            rows: Rows with `prompt` and `images`; each prompt fills G successive rows.
            advantages_B: The advantage of each row.
        """
        prompt_rows = rows[:: self.generations]
        messages = [
            prepare_multimodal_messages(row["prompt"], images=row["images"]) for row in prompt_rows
        ]
        texts = [
            self.processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
            for message in messages
        ]
        images = [row["images"] for row in prompt_rows]
        prompts = self.processor(text=texts, images=images, padding=True, return_tensors="pt")
        prompts = prompts.to(self.policy.device)
        self.policy.eval()
        ids = self.policy.generate(
            **prompts,
            do_sample=True,
            temperature=1.0,
            max_new_tokens=self.length,
            num_return_sequences=self.generations,
            suppress_tokens=list(self.suppressed),
        )
        self.policy.train()
        copies = self.generations
        completions_BC = ids[:, prompts["input_ids"].shape[1] :]
        mask = prompts["attention_mask"].repeat_interleave(copies, 0)
        types = prompts["mm_token_type_ids"].repeat_interleave(copies, 0)
        patches = prompts["pixel_values"].split(prompts["image_grid_thw"].prod(-1).tolist())
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.cat([mask, torch.ones_like(completions_BC)], 1),
            "mm_token_type_ids": torch.cat([types, torch.zeros_like(completions_BC)], 1),
            "pixel_values": torch.cat([part for part in patches for _ in range(copies)]),
            "image_grid_thw": prompts["image_grid_thw"].repeat_interleave(copies, 0),
        }
        length = completions_BC.shape[1]
        return Rollout(inputs, length, logps(self.reference, inputs, length), advantages_B)

    def loss(self, rollout: Rollout) -> torch.Tensor:
        """The loss of one update per rollout: the ratio is 1, but has a gradient."""
        logps_BC = logps(self.policy, rollout.inputs, rollout.length)
        difference_BC = rollout.reference_BC - logps_BC
        kl_BC = difference_BC.exp() - difference_BC - 1
        ratio_BC = (logps_BC - logps_BC.detach()).exp()
        return -(ratio_BC * rollout.advantages_B[:, None] - BETA * kl_BC).mean()


def logps(model: Any, inputs: dict[str, torch.Tensor], length: int) -> torch.Tensor:
    """The log-probability of each completion token, from the logits of all tokens.

    Args:
        model: The policy or the reference model.
        inputs: The arguments of its forward pass, B rows of T tokens.
        length: C, the number of completion tokens, which are the last ones of a row.

    Returns:
        The log-probabilities (B, C).
    """
    logits_BTV = model(**inputs).logits[:, :-1]
    targets_BT = inputs["input_ids"][:, 1:]
    rows = zip(logits_BTV, targets_BT, strict=True)
    logps_BT = [row.log_softmax(-1).gather(1, ids[:, None])[:, 0] for row, ids in rows]
    return torch.stack(logps_BT)[:, -length:]
