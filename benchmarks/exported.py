"""How far exported models are from the library, and the library from itself: python benchmarks/exported.py [NAME...]

Prints the difference of a picture's outputs, in units of each one's largest number, or of 1
(`slotjax.export.program.difference`): median and largest over rendered pictures. Rounding is all that differs, but a
trained model amplifies it: the last rows say by how much, without any export. Weights of CLEVR by name; needs the extra
`export`.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tables import table

import slotjax
from slotjax.export import onnx, stablehlo
from slotjax.export.program import Program, difference, program
from slotjax.nn import cpu

PICTURES = 16

Outputs = Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=["clevr6"])
    for name in parser.parse_args(argv).names:
        rows = [(what, f"{np.median(x):.1e}", f"{max(x):.1e}") for what, x in apart(name).items()]
        print(f"{name}, {PICTURES} pictures\n\n{table(('', 'median', 'largest'), rows)}\n")


def apart(name: str, pictures: int = PICTURES) -> dict[str, list[float]]:
    """The difference of every picture, by what is compared with what."""
    made = program(*slotjax.load(name), name)
    images = scenes(made, pictures)
    library, compiled = made.call(images), jax.jit(made.call)(images)
    up = np.random.default_rng(0).random(images.shape) < 0.5
    moved = jax.jit(made.call)(np.nextafter(images, np.where(up, 2, -2).astype(np.float32)))
    with cpu.plain():
        same = jax.jit(lambda image: made.call(image))(images)  # another function, which is traced anew
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for form in (stablehlo, onnx):
            path = Path(folder) / f"m{form.SUFFIX}"
            form.write(made, path)
            found[form] = form.run(path, images)
    pairs = {
        "StableHLO, to the same program compiled by JAX": (same, found[stablehlo]),
        "StableHLO, to the library": (library, found[stablehlo]),
        "ONNX, to the library": (library, found[onnx]),
        "the library compiled, to itself not compiled": (library, compiled),
        "the library, pixels off by one unit in the last place": (compiled, moved),
    }
    return {what: [difference(one(a, i), one(b, i)) for i in range(pictures)] for what, (a, b) in pairs.items()}


def scenes(made: Program, count: int) -> np.ndarray:
    """Rendered pictures of CLEVR as bytes give them, float32 [count, h, w, 3] in [-1, 1]."""
    keys = jax.random.split(jax.random.key(7), count)
    draw = jax.jit(jax.vmap(lambda key: slotjax.data.scenes.clevr(key, resolution=made.picture[:2]).image))
    return np.round((np.asarray(draw(keys)) + 1) * 127.5).astype(np.float32) / np.float32(127.5) - np.float32(1)


def one(outputs: Outputs, i: int) -> dict[str, np.ndarray]:
    return {name: np.asarray(x)[i : i + 1] for name, x in outputs.items()}


if __name__ == "__main__":
    main()
