"""ONNX, by jax2onnx: one file for ONNX Runtime and what else reads it."""

import json
import logging
from pathlib import Path
from typing import Any

from slotjax.errors import UserError, first_line
from slotjax.export.program import Program
from slotjax.nn import cpu
from slotjax.system import writing
from slotjax.system.extras import extra

SUFFIX = ".onnx"


def write(program: Program, path: Path) -> list[Path]:
    """Writes the program, for any number of pictures; what it takes and returns is in the file's metadata.

    Raises:
      UserError: an operation of the model that the converter does not know.
    """
    with extra("export"):
        import jax2onnx
        import onnx
        import onnx_ir
        import onnxruntime  # noqa: F401  # before the long conversion
        from onnx_ir.passes.common import LiftSubgraphInitializersToMainGraphPass, RemoveUnusedNodesPass
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it tells of shapes that it leaves out

    def call(image: Any) -> tuple[Any, ...]:
        found = program.call(image)
        return tuple(found[name] for name in program.outputs)

    image, outputs = ("b", *program.picture), list(program.outputs)
    with cpu.plain():
        try:
            model = jax2onnx.to_onnx(call, [image], return_mode="ir", input_names=["image"], output_names=outputs)
        except NotImplementedError as error:
            reason = first_line(error)
            raise UserError(f"--to {path}: jax2onnx cannot convert this model ({reason}); name a .stablehlo") from None
    for clean in (LiftSubgraphInitializersToMainGraphPass(), RemoveUnusedNodesPass()):
        clean(model)
    proto = onnx_ir.to_proto(model)
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in program.about.items()}
    onnx.helper.set_model_props(proto, values)
    onnx.checker.check_model(proto)
    writing.write_bytes(path, proto.SerializeToString())
    return [path]


def run(path: Path, images: Any) -> dict[str, Any]:
    """What the file's program returns in ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))
