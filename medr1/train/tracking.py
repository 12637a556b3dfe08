"""The services that a run reports to, by TRL's `report_to`: which there are, and which are here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from medr1.errors import InputError

_PACKAGES = {
    "azure_ml": "azureml",
    "comet_ml": "comet_ml",
    "dagshub": "dagshub",
    "flyte": "flytekit",
}
"""Where a service's package is not called as the service is."""
_EXTRA = ("tensorboard", "wandb")
"""What the extra `tracking` brings."""


def require_trackers(names: Sequence[str] | str | None) -> None:
    """Raise InputError for a name nobody knows, and for one whose package is not installed.

    For those that come with an extra of medr1's it is ModuleNotFoundError, which the command line
    answers with the extra's name.
    """
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    for name in [names] if isinstance(names, str) else names or ():
        if name in ("all", "none"):
            continue
        if name not in INTEGRATION_TO_CALLBACK:
            near = get_close_matches(name, INTEGRATION_TO_CALLBACK, n=1)
            hint = (
                f"Did you mean {near[0]}?"
                if near
                else "Choose from: " + ", ".join(INTEGRATION_TO_CALLBACK)
            )
            raise InputError(f"report_to: unknown service {name!r}. {hint}")
        package = _PACKAGES.get(name, name)
        if _is_installed(package):
            continue
        if name in _EXTRA:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        raise InputError(f"report_to: {name} needs {package}, which is not installed here.")


def _is_installed(package: str) -> bool:
    """Whether it can be imported; the folder ./wandb that its runs leave behind is no package."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


@contextmanager
def reporting() -> Iterator[None]:
    """Around a run: InputError where wandb does not know the user, and its last words at the end.

    Left to itself it says them when the process ends, after the command's result.
    """
    try:
        yield
    except _refusals() as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"wandb refused: {reason} Or keep the run here: --offline, or WANDB_MODE=offline."
        ) from None
    finally:
        if (wandb := _wandb()) is not None and wandb.run is not None:
            wandb.finish()


def _refusals() -> tuple[type[Exception], ...]:
    wandb = _wandb()
    return () if wandb is None else (wandb.errors.UsageError, wandb.errors.AuthenticationError)


def _wandb() -> Any:
    """The module, where the run has loaded it."""
    wandb = sys.modules.get("wandb")
    return wandb if hasattr(wandb, "run") else None
