"""StableHLO, as `jax.export` writes it: one file for every platform, which needs JAX alone to run."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from slotjax.export.program import Program
from slotjax.nn import cpu
from slotjax.system import writing
from slotjax.system.extras import extra

SUFFIX = ".stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def write(program: Program, path: Path) -> list[Path]:
    """Writes the program, for any number of pictures, and beside it PATH.json, which says what it takes and returns."""
    with extra("export"):
        import flatbuffers  # noqa: F401  # `serialize` needs it
    (batch,) = export.symbolic_shape("b")
    image = jax.ShapeDtypeStruct((batch, *program.picture), jnp.float32)
    with cpu.plain():
        exported = export.export(jax.jit(program.call), platforms=PLATFORMS)(image)
    beside = path.with_name(f"{path.name}.json")
    writing.write_bytes(path, bytes(exported.serialize()))
    writing.write_json(beside, program.about)
    return [path, beside]


def run(path: Path, images: Any) -> dict[str, Any]:
    """What the file's program returns."""
    return jax.jit(export.deserialize(bytearray(path.read_bytes())).call)(images)
