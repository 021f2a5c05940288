"""python -m slotjax.replay FILE: does a step again that was not finite, and says where that began."""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from slotjax import cli, configuration
from slotjax.errors import UserError
from slotjax.models import build_model
from slotjax.tasks import TASKS
from slotjax.weights import flatten, load_entries, unflatten


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("file", help="DIR/nonfinite/step_N.npz of a training run")
    path = Path(parser.parse_args().file)
    fields, entries = load_entries(path)
    tree = unflatten(entries)
    if not {"params", "batch", "keys"} <= set(tree) or not {"model", "step"} <= set(fields):
        raise UserError(f"{path}: not the record of a step; give a file of DIR/nonfinite")
    step = fields.pop("step")
    try:
        config = configuration.from_fields(fields)
    except ValueError as error:
        raise UserError(f"{path}: not the record of a step ({error})") from None
    configuration.checked(config, path)
    model, task = build_model(config.model), TASKS[config.model.name]
    keys = jax.random.wrap_key_data(jnp.asarray(tree["keys"]))
    loss = task.build_loss(model, config.train)
    (value, _), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(tree["params"], tree["batch"], keys)
    print(f"step {step} of {path}: {len(tree['keys'])} images, loss {float(value):.6g}")
    for title, entry in (("batch", tree["batch"]), ("parameters", tree["params"]), ("gradients", gradients)):
        print(f"{title}:")
        for name, values in flatten(entry).items():
            print(f"  {name:40} {describe(np.asarray(values))}")


def describe(values: np.ndarray) -> str:
    """Range of the finite values, and how many are not."""
    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    span = f"{finite.min():11.4g} to {finite.max():11.4g}" if finite.size else f"{'none is finite':>26}"
    lost = values.size - finite.size
    return span + (f"   {lost} of {values.size} NOT FINITE" if lost else "")


if __name__ == "__main__":
    cli.run(main)
