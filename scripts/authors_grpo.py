"""GRPO as the original trains (its grpo_trainer.py), restated to be timed: not used elsewhere.

    rollout     G completions of each prompt: the image encoded once, the prompt run G times
    reference   a second model, always, on G copies of image and prompt
    policy      G copies of image and prompt; the logits of all tokens, then log_softmax
    loss        -mean over completions of the mean over tokens of (ratio A - beta KL)

Its `pixel_values.repeat(G, 1)` pairs images with the wrong rows where a batch has several prompts;
here each row has its own. Rewards and advantages are given by who calls.

Shapes: B rows (prompts times G), N prompt tokens, C completion tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl.data_utils import prepare_multimodal_messages

BETA = 0.04


@dataclass
class Rollout:
    """A batch of completions with all that the loss needs."""

    inputs: dict[str, torch.Tensor]
    length: int
    reference_BC: torch.Tensor
    advantages_B: torch.Tensor


@dataclass(frozen=True)
class AuthorsGRPO:
    """The original's algorithm on a policy and a reference model."""

    policy: Any
    reference: Any
    processor: Any
    generations: int
    length: int
    suppressed: Sequence[int]

    @torch.no_grad()
    def rollout(self, rows: Sequence[dict[str, Any]], advantages_B: torch.Tensor) -> Rollout:
        """Completions of the rows' prompts (G rows each) with the reference's log-probabilities."""
        firsts = rows[:: self.generations]
        messages = [prepare_multimodal_messages(r["prompt"], images=r["images"]) for r in firsts]
        texts = [
            self.processor.apply_chat_template(m, add_generation_prompt=True, tokenize=False)
            for m in messages
        ]
        images = [row["images"] for row in firsts]
        made = self.processor(text=texts, images=images, padding=True, return_tensors="pt")
        made = made.to(self.policy.device)
        self.policy.eval()
        ids = self.policy.generate(
            **made,
            do_sample=True,
            temperature=1.0,
            max_new_tokens=self.length,
            num_return_sequences=self.generations,
            suppress_tokens=list(self.suppressed),
        )
        self.policy.train()
        copies = self.generations
        said_BC = ids[:, made["input_ids"].shape[1] :]
        mask = made["attention_mask"].repeat_interleave(copies, 0)
        types = made["mm_token_type_ids"].repeat_interleave(copies, 0)
        patches = made["pixel_values"].split(made["image_grid_thw"].prod(-1).tolist())
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.cat([mask, torch.ones_like(said_BC)], 1),
            "mm_token_type_ids": torch.cat([types, torch.zeros_like(said_BC)], 1),
            "pixel_values": torch.cat([part for part in patches for _ in range(copies)]),
            "image_grid_thw": made["image_grid_thw"].repeat_interleave(copies, 0),
        }
        length = said_BC.shape[1]
        return Rollout(inputs, length, logps(self.reference, inputs, length), advantages_B)

    def loss(self, rollout: Rollout) -> torch.Tensor:
        """The loss of one update, in which the ratio is 1."""
        logps_BC = logps(self.policy, rollout.inputs, rollout.length)
        apart_BC = rollout.reference_BC - logps_BC
        kl_BC = apart_BC.exp() - apart_BC - 1
        ratio_BC = (logps_BC - logps_BC.detach()).exp()
        return -(ratio_BC * rollout.advantages_B[:, None] - BETA * kl_BC).mean()


def logps(model: Any, inputs: dict[str, torch.Tensor], length: int) -> torch.Tensor:
    """The log-probability of each completion token, by the logits of all tokens (B, C)."""
    logits_BTV = model(**inputs).logits[:, :-1]
    targets_BT = inputs["input_ids"][:, 1:]
    rows = zip(logits_BTV, targets_BT, strict=True)
    found = [row.log_softmax(-1).gather(1, ids[:, None])[:, 0] for row, ids in rows]
    return torch.stack(found)[:, -length:]
