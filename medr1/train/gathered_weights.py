"""FSDP2 gathers the weights once for each rollout, not once for each token.

With FSDP2 a layer gathers its weights before each pass, and frees them after it. In training that
saves memory. Decoding makes one pass for each token, so it would gather every layer for every
token. Here the first pass of a rollout gathers the layers of the language model, in the dtype that
passes are computed in, and they keep the weights until the rollout ends. The vision tower runs once
for each rollout, so it is left as it is.

It takes the memory of one complete language model. `--ds3-gather-for-generation false`, TRL's field
for ZeRO-3, turns it off.

A process whose completions have ended makes no further passes while another one still decodes:
there is nothing left to gather. If layers are gathered for each token, all processes have to make
the same number of passes, and `generate` makes them (`synced_gpus`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from medr1.models.parts import language_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import GRPOConfig
    from trl import GRPOTrainer as _Trainer
else:
    _Trainer = object


class GatheredWeightsMixin(_Trainer):
    """Mixin for TRL's GRPOTrainer: FSDP2 gathers the weights once for each rollout.

    It stands before the trainer in the list of base classes.
    """

    args: GRPOConfig

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        generate: Any = super()._generate_single_turn
        if not self._gathers_once:
            return generate(*args, **kwargs)
        model = self.accelerator.unwrap_model(self.model)
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        with keep_gathered(inner):
            return generate(*args, **kwargs)

    @property
    def _gathers_once(self) -> bool:
        """Whether layers would free their weights after each pass, and should keep them."""
        plugin = self.accelerator.state.fsdp_plugin if self.is_fsdp_enabled else None
        if plugin is None or plugin.fsdp_version != 2 or self.use_vllm:
            return False
        return bool(self.args.ds3_gather_for_generation and plugin.reshard_after_forward)


@contextmanager
def keep_gathered(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, layers of the language model keep the weights that a pass has gathered.

    At the end the weights are freed, and later passes free them again. `model.generate` does not
    wait for other processes.

    Args:
        model: The model, without an adapter around it. FSDP2 has sharded it so that each layer
            frees its weights after a pass.
    """
    from torch.distributed.fsdp import FSDPModule
    from torch.nn import ModuleList

    lists = [part for part in language_model(model).modules() if isinstance(part, ModuleList)]
    layers = [layer for part in lists for layer in part if isinstance(layer, FSDPModule)]
    for layer in layers:
        layer.set_reshard_after_forward(False, recurse=False)
    own = vars(model)
    generate: Any = model.generate
    patched = own.get("generate")  # by shared_prefix/generation.py
    own["generate"] = partial(generate, synced_gpus=False)
    try:
        yield
    finally:
        del own["generate"]
        if patched is not None:
            own["generate"] = patched
        for layer in layers:
            layer.set_reshard_after_forward(True, recurse=False)
            layer.reshard()
