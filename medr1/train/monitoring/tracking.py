"""The services that a run reports to (TRL's `report_to`): check their names, and close wandb."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

from medr1.errors import InputError, did_you_mean

_PACKAGES = {
    "azure_ml": "azureml",
    "comet_ml": "comet_ml",
    "dagshub": "dagshub",
    "flyte": "flytekit",
}
"""Service -> its package, if the names differ."""
_TRACKING_EXTRA = ("tensorboard", "wandb")
"""The services whose packages medr1's extra `tracking` installs."""


def require_trackers(names: Sequence[str] | str | None) -> None:
    """Check that each service exists and that its package is installed.

    Raises:
        InputError: A name is unknown, or its package is not installed.
        ModuleNotFoundError: The package is not installed, and medr1's extra `tracking` has it. The
            command line then names the extra.
    """
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    for name in [names] if isinstance(names, str) else names or ():
        if name in ("all", "none"):
            continue
        if name not in INTEGRATION_TO_CALLBACK:
            names_as_text = "Choose from: " + ", ".join(INTEGRATION_TO_CALLBACK)
            hint = did_you_mean(name, INTEGRATION_TO_CALLBACK, names_as_text)
            raise InputError(f"report_to: unknown service {name!r}. {hint}")
        package = _PACKAGES.get(name, name)
        if _is_installed(package):
            continue
        if name in _TRACKING_EXTRA:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        raise InputError(
            f"report_to: {name} needs {package}, which is not installed here. Install it with pip, "
            "or choose another service."
        )


def _is_installed(package: str) -> bool:
    """Whether the package can be imported.

    A folder without code, such as the ./wandb that wandb's runs leave behind, has a spec without an
    origin, and is no package.
    """
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


@contextmanager
def wandb_run() -> Iterator[None]:
    """Within the block, wandb's refusals become InputErrors; at its end the wandb run is finished.

    Otherwise wandb would print its summary when the process ends, after the command's result.

    Raises:
        InputError: wandb refused the run, for example because the user is not logged in.
    """
    try:
        yield
    except _refusals() as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"wandb refused the run: {reason} To keep the run on this machine, give --offline or "
            "set WANDB_MODE=offline."
        ) from None
    finally:
        if (wandb := _wandb()) is not None and wandb.run is not None:
            wandb.finish()


def _refusals() -> tuple[type[Exception], ...]:
    """The exceptions with which wandb refuses a run; () if it is not loaded."""
    wandb = _wandb()
    return () if wandb is None else (wandb.errors.UsageError, wandb.errors.AuthenticationError)


def _wandb() -> ModuleType | None:
    """The module wandb if the run has loaded it, otherwise None."""
    # The folder ./wandb may have been imported as an empty package: that has no `run`.
    wandb = sys.modules.get("wandb")
    return wandb if hasattr(wandb, "run") else None
