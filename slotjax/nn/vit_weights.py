"""Weights of vision transformers as people have them: .safetensors files in timm's or Hugging Face's names.

Which architecture a file holds is read off its names and shapes; nothing in it is run. timm's names are those of the
original programs of DINO, DINOv2 and MAE as well. What no name tells, the number of heads and the colours that pictures
are normalised by, is read from the `config.json` and `preprocessor_config.json` that Hugging Face's programs write
beside it; without them heads are 64 numbers wide, and colours ImageNet's, or 0.5 where the file has
a classifier or a pooler, as ViTs that were trained on labels do.
"""

import functools
import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slotjax.errors import UserError, shown
from slotjax.nn.vit_arrays import open_arrays
from slotjax.system.paths import given
from slotjax.system.reading import read_json

NOT_TOKENS = re.compile(r"^(decoder|head|classifier|pooler|mask_token)")  # parts that take no part in making tokens
OF_LABELS = re.compile(r"^(head|classifier|pooler)\.")
BLOCK = {  # a block's arrays, ours by timm's; kernels are transposed
    "norm1": "norm1",
    "attn.qkv": "qkv",
    "attn.proj": "out",
    "norm2": "norm2",
    "mlp.fc1": "dense0",
    "mlp.fc2": "dense1",
}
FIELD = "model.backbone.weights"
KNOWN = "ViT, DINO, DINOv2 and MAE's encoder are known"
GELUS = ("gelu", None)  # what Hugging Face calls the exact one
MAX_HEADER = 2**22  # bytes of JSON beside a file


def describe(path: str | Path, where: str = "load_backbone") -> dict[str, Any]:
    """The architecture in a file, as the fields of `VisionTransformer`, its path and checksum among them.

    Args:
      where: the field or function that the path was given to, with which errors begin.

    Raises:
      UserError: no such file, a pickle, a damaged file, or none of a plain vision transformer.
    """
    path = given(path, where)
    arrays, names = open_arrays(path, where)
    lacking = [name for name in ("patch_embed.proj.weight", "pos_embed", "norm.weight") if name not in arrays]
    numbers = [int(match[1]) for name in arrays if (match := re.match(r"blocks\.(\d+)\.", name))]
    foreign = _foreign(arrays)
    if foreign or (lacking and not numbers):
        odd = names[foreign[0]] if foreign else f"no {lacking[0]}"
        raise UserError(f"{where}: {path} holds no plain vision transformer ({shown(odd)}); {KNOWN}")
    lacking += [name for name in _needed(arrays, numbers) if name not in arrays]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise UserError(f"{where}: {path} lacks {lacking[0]}{more}; copy or convert the whole file again")
    try:
        fields = _architecture(arrays, names, max(numbers) + 1)
    except (ValueError, IndexError) as error:
        raise UserError(f"{where}: {path} holds no plain vision transformer ({error}); {KNOWN}") from None
    return {"weights": str(path), "sha256": checksum(path)} | fields | _beside(path, fields["width"], where)


def read(module: Any) -> dict[str, Any]:
    """The parameters of a `VisionTransformer` from its file, float32; of blocks only those that it uses.

    Raises:
      UserError: the file is gone, is not the one that the module was made for, or does not fit it.
    """
    path = given(module.weights, FIELD)
    if not path.is_file():
        raise UserError(f"{FIELD}={path}: no such file{_sought(module)}")
    if module.sha256 and checksum(path) != module.sha256:
        raise UserError(f"{FIELD}={path}: is another file than before{_sought(module)}")
    return _parameters(module, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1)  # a run asks several times
def _parameters(module: Any, time: int) -> dict[str, Any]:
    """The parameters in a file that was written at this time."""
    del time
    path = given(module.weights, FIELD)
    arrays, _ = open_arrays(path, FIELD)
    params = jax.tree.map(np.asarray, _tree(arrays, module.layer or module.depth))
    images = jax.ShapeDtypeStruct((1, module.patch, module.patch, 3), jnp.float32)
    wanted = jax.eval_shape(lambda x: module.init(jax.random.key(0), x)["params"], images)
    _check_shapes(params, wanted, f"{FIELD}={path}")
    return params


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sought(module: Any) -> str:
    digest = f" (SHA-256 {module.sha256[:12]}...)" if module.sha256 else ""
    return (
        f"{digest}; say where the backbone's weights are now: slotjax.load(..., backbone=FILE), or once, for all "
        "commands, the run's training command with --config.model.backbone.weights=FILE"
    )


def _foreign(arrays: Iterable[str]) -> list[str]:
    """Names that a plain vision transformer does not have."""
    of_block = "|".join(map(re.escape, (*BLOCK, "attn.q", "attn.k", "attn.v")))
    plain = re.compile(
        r"(cls_token|reg_token|pos_embed|(patch_embed\.proj|norm)\.(weight|bias)|"
        rf"blocks\.\d+\.(({of_block})\.(weight|bias)|ls[12]\.gamma))$"
    )
    return [name for name in arrays if not plain.match(name) and not NOT_TOKENS.match(name)]


def _needed(arrays: Mapping[str, Any], numbers: list[int]) -> list[str]:
    """What a file must hold beside what says that it holds a vision transformer at all."""
    scales = ["ls1.gamma", "ls2.gamma"] if any(name.endswith("gamma") for name in arrays) else []
    parts = [f"{part}.{kind}" for part in BLOCK for kind in ("weight", "bias")] + scales
    blocks = [f"blocks.{i}.{part}" for i in range(max(numbers, default=-1) + 1) for part in parts]
    return ["patch_embed.proj.bias", "norm.bias", *(blocks or ["blocks.0.norm1.weight"])]


def _architecture(arrays: Mapping[str, np.ndarray], names: Mapping[str, str], depth: int) -> dict[str, Any]:
    """What names and shapes say. Raises ValueError where they say something else."""
    width, channels, patch, other = arrays["patch_embed.proj.weight"].shape
    if channels != 3 or patch != other:
        raise ValueError(f"patches of {patch}x{other} pixels of {channels} colours")
    registers = arrays["reg_token"].shape[1] if "reg_token" in arrays else 0
    side, _ = _grid(arrays, registers)
    huggingface = any("embeddings." in name for name in names.values())
    old = huggingface and any("layernorm_before" in name for name in names.values())
    original = not huggingface and "mask_token" in names and not any(n.startswith("decoder") for n in names)
    imagenet = not any(OF_LABELS.match(name) for name in names)
    return {
        "patch": patch,
        "width": width,
        "depth": depth,
        "hidden": arrays["blocks.0.mlp.fc1.weight"].shape[0],
        "positions": (side, side),
        "class_token": "cls_token" in arrays,
        "registers": registers,
        "layer_scale": "blocks.0.ls1.gamma" in arrays,
        "epsilon": 1e-12 if old else 1e-6,
        # Where the originals, and Hugging Face's forms of them, differ: only DINOv2's with registers are antialiased.
        "antialias": bool(registers) or not (huggingface or original),
    } | ({} if imagenet else {"mean": (0.5, 0.5, 0.5), "spread": (0.5, 0.5, 0.5)})


def _grid(arrays: Mapping[str, np.ndarray], registers: int) -> tuple[int, int]:
    """The side of the square of positions, and how many others come before it."""
    count = arrays["pos_embed"].shape[-2]
    for others in (0, 1, 1 + registers):
        side = math.isqrt(max(count - others, 0))
        if side and side**2 == count - others:
            return side, others
    raise ValueError(f"{count} positions, which are no square")


def _beside(path: Path, width: int, where: str) -> dict[str, Any]:
    """What the files say that Hugging Face's programs write beside a model's, where they are of one of this width."""
    found = _fields(path.with_name("config.json"))
    if width not in (found.get("hidden_size"), found.get("num_features")):
        return {}
    found |= _fields(path.with_name("preprocessor_config.json"))
    found |= found["pretrained_cfg"] if isinstance(found.get("pretrained_cfg"), dict) else {}
    if found.get("hidden_act") not in GELUS:
        raise UserError(
            f"{where}: {path} holds no plain vision transformer (hidden_act={found['hidden_act']}); {KNOWN}"
        )
    fields: dict[str, Any] = {}
    for ours, theirs, kind in (("heads", "num_attention_heads", int), ("epsilon", "layer_norm_eps", float)):
        if isinstance(found.get(theirs), kind):
            fields[ours] = found[theirs]
    for ours, theirs in (("mean", "image_mean"), ("mean", "mean"), ("spread", "image_std"), ("spread", "std")):
        value = found.get(theirs)
        if value is None:
            continue
        if not (isinstance(value, list) and len(value) == 3 and all(isinstance(x, int | float) for x in value)):
            raise UserError(f"{where}: {path} has {theirs}={shown(value)} beside it; give red, green and blue")
        fields[ours] = tuple(map(float, value))
    if found.get("do_normalize") is False:
        fields |= {"mean": (0.0, 0.0, 0.0), "spread": (1.0, 1.0, 1.0)}
    return fields


def _fields(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none."""
    try:
        content = read_json(path, MAX_HEADER)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _tree(arrays: Mapping[str, np.ndarray], depth: int) -> dict[str, Any]:
    """The parameters by our names; a class token has its position added already."""
    registers = arrays["reg_token"][0] if "reg_token" in arrays else None
    side, others = _grid(arrays, 0 if registers is None else len(registers))
    before, positions = np.split(arrays["pos_embed"].reshape(-1, arrays["pos_embed"].shape[-1]), [others])
    kernel = arrays["patch_embed.proj.weight"]
    params: dict[str, Any] = {
        "patches": {
            "kernel": kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel)),
            "bias": arrays["patch_embed.proj.bias"],
        },
        "positions": positions.reshape(side, side, -1),
        "norm": _norm(arrays, "norm"),
    }
    if "cls_token" in arrays:
        params["class_token"] = arrays["cls_token"][0] + (before[:1] if others else 0)
    if registers is not None:
        params["registers"] = registers + (before[1:] if others > 1 else 0)
    for i in range(depth):
        params[f"block{i}"] = _block(arrays, f"blocks.{i}")
    return params


def _block(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    params: dict[str, Any] = {
        ours: (_norm if theirs.startswith("norm") else _dense)(arrays, f"{name}.{theirs}")
        for theirs, ours in BLOCK.items()
    }
    scales = {f"scale{i}": arrays[f"{name}.ls{i}.gamma"] for i in (1, 2) if f"{name}.ls{i}.gamma" in arrays}
    return params | scales


def _norm(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {"scale": arrays[f"{name}.weight"], "bias": arrays[f"{name}.bias"]}


def _dense(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {"kernel": arrays[f"{name}.weight"].T, "bias": arrays[f"{name}.bias"]}


def _check_shapes(params: Any, wanted: Any, where: str) -> None:
    """Raises a `UserError` where the arrays are not those of the module."""
    ours, theirs = (
        {jax.tree_util.keystr(path): x.shape for path, x in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (wanted, params)
    )
    for name in sorted(ours | theirs):
        if ours.get(name) != theirs.get(name):
            raise UserError(
                f"{where}: {name} is {theirs.get(name, 'absent')}, but model.backbone asks for "
                f"{ours.get(name, 'none')}; of its fields set weights and layer alone"
            )
