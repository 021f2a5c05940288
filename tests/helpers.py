"""What several tests share: configs by name, small runs and their figures, made-up sets."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from slotjax import weights
from slotjax.config import disk
from slotjax.data.clevr_properties import ATTRIBUTES, REAL
from slotjax.models import Output, build_model
from slotjax.models.base import composed
from slotjax.nn.decoders.base import Drawn
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.metrics_log import read_metrics
from slotjax.training.restore import initial_state

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
ENVIRONMENT |= {"PYTHONWARNINGS": "default"}


def command(*arguments: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Python with these arguments, as a user types them: on one device, with all warnings."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def picture_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def config_file(name: str) -> ModuleType:
    """The module `configs/NAME.py`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"configs_{name}", ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_of(name: str) -> ConfigDict:
    """The config that `--config configs/NAME.py:VARIANTS` gives, of "NAME:VARIANTS"."""
    file, _, variants = name.partition(":")
    return config_file(file).get_config(variants or None)


def tiny(name: str, variants: str = "tiny", **train_fields) -> ConfigDict:
    """A config that trains in seconds, with four held-out images."""
    config = config_of(f"{name}:{variants}")
    config.data.eval_images = 4
    config.train.update(train_fields)
    return config


def untrained(config: ConfigDict, workdir: Path, step: int = 1) -> Path:
    """A run by hand: its config, and parameters as they are drawn, as the checkpoint of some step."""
    disk.save(config, workdir / "config.json")
    checkpoints = Checkpoints(workdir)
    checkpoints.save(step, initial_state(config, build_model(config.model)))
    checkpoints.close()
    return workdir


def figures(workdir: Path) -> list[dict]:
    """The rows of a run's metrics that do not depend on the machine."""
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in ("time", "images_per_second")} for row in rows]


def weights_for_pictures() -> list[str]:
    """Names of the packaged weights whose models split pictures, and not videos."""
    names = weights.packaged_names()
    return [name for name in names if weights.read(weights.find(name))[0]["model"]["name"] == "object_discovery"]


def images_of(model, batch: int = 2) -> jax.Array:
    """Noise of the shape that a model takes."""
    shape = (batch, *model.inputs["image"].shape)
    return jax.numpy.asarray(np.random.default_rng(0).uniform(-1, 1, shape), jax.numpy.float32)


def compose(components: jax.Array, mask_logits: jax.Array, gates: jax.Array | None = None) -> Output:
    """What is composed of slots that drew these pixels, [*b, k, h, w, c] and [*b, k, h, w]."""
    return composed(Drawn(components[..., None], mask_logits[..., None, None]), gates)


def random_sets(rng: np.random.Generator, images: int, size: int, real: float = 1.0) -> np.ndarray:
    """Objects of two colours and shapes close together, so that many share their attributes; [images, size, 19]."""
    sets = np.zeros((images, size, 19), np.float32)
    sets[..., :3] = rng.uniform(0.3, 0.6, (images, size, 3))
    for part in ATTRIBUTES.values():
        code = part.start + rng.integers(0, 2, (images, size))
        np.put_along_axis(sets, code[..., None], 1, -1)
    sets[..., REAL] = rng.uniform(size=(images, size)) < real
    return sets * (sets[..., REAL:] > 0)
