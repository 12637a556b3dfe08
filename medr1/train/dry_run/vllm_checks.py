"""What `--use-vllm` needs, said before the run: a version of vLLM that TRL supports, and CUDA."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

from medr1.errors import InputError
from medr1.processes import is_first_process

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("medr1")


def require_vllm(device: torch.device) -> None:
    """Check that TRL can sample with vLLM, which is installed, and warn of an untested version.

    Args:
        device: The device of the trained model.

    Raises:
        InputError: The device is not a CUDA device.
    """
    if (message := version_warning()) and is_first_process():
        logger.warning("use_vllm: %s", message)
    if device.type != "cuda":
        raise InputError(
            "use_vllm: TRL gives vLLM the new weights on a CUDA device, and this run computes on "
            f"{device.type}. Leave it out, or use --rollout-url, which needs no CUDA device."
        )


def version_warning() -> str | None:
    """What TRL says about the installed version of vLLM; None if it supports the version."""
    from trl.import_utils import is_vllm_available

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_vllm_available()
    messages = [str(warning.message) for warning in caught if "vLLM" in str(warning.message)]
    return messages[0] if messages else None
