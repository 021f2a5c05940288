"""Trained models by the directory of their run."""

from pathlib import Path
from typing import Any

import flax.linen as nn

from slotjax.errors import UserError


def load(name: str | Path) -> tuple[nn.Module, Any]:
    """The model and the parameters of a training run: the best checkpoint, or the newest where none was evaluated.

    Args:
      name: a run's directory, such as "runs/clevr".

    Returns:
      (model, params), for `slotjax.apply`.

    Raises:
      UserError: no such directory, or no checkpoint in it.
    """
    workdir = Path(name)
    if not workdir.is_dir():
        raise UserError(
            f"{name}: no such directory; give the --workdir of a training run (this version packages no weights)"
        )
    from slotjax.configuration import load as load_config
    from slotjax.training.run import restore_state  # brings orbax, which importing slotjax does not

    config = load_config(workdir / "config.json")
    model, state = restore_state(config, workdir, best=True)
    return model, state.best_params
