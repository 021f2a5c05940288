"""The arrays in a file of a vision transformer, by the names that timm has for them."""

import re
from pathlib import Path

import numpy as np

from slotjax.errors import UserError, first_line

RENAMED = tuple(  # one after another: Hugging Face's names, and those of the original programs, to timm's
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^(vit|dinov2|dinov2_with_registers)\.", ""),
        (r"^embeddings\.", ""),
        (r"^position_embeddings$", "pos_embed"),
        (r"^register_tokens$", "reg_token"),
        (r"^patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^layernorm\.", "norm."),
        (r"^(encoder\.layer|layers)\.", "blocks."),
        (r"\.(layernorm_before|norm1)\.", ".norm1."),
        (r"\.(layernorm_after|norm2)\.", ".norm2."),
        (r"\.attention\.(attention\.query|q_proj)\.", ".attn.q."),
        (r"\.attention\.(attention\.key|k_proj)\.", ".attn.k."),
        (r"\.attention\.(attention\.value|v_proj)\.", ".attn.v."),
        (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
        (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    )
)
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")


def open_arrays(path: Path, where: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays by timm's names, and the file's own name of each."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"{where}: {path} is no file; give the .safetensors file of a pretrained vision transformer")
    with path.open("rb") as file:
        start = file.read(9)
    pickled = start[:2] == b"PK" or start[:1] == b"\x80" or path.suffix in PICKLES
    if pickled and start[8:] != b"{":  # with which the header of a .safetensors file begins, after its length
        raise UserError(f"{where}: {path} is a pickle, which may run code when it is read; {_conversion(path)}")
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: np.asarray(file.get_tensor(name), np.float32) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        reason = first_line(error)
        raise UserError(f"{where}: {path} is no .safetensors file, or damaged ({reason}); copy it again") from None
    names = {_renamed(name): name for name in arrays}
    return _joined({new: arrays[old] for new, old in names.items()}), names


def _conversion(path: Path) -> str:
    """How people make a .safetensors file of a pickle that they trust."""
    return (
        'if you trust it, convert it once where PyTorch is: python -c "import torch; from safetensors.torch import '
        f"save_file; w = torch.load('{path.name}', 'cpu'); w = w.get('model', w); "
        f"save_file({{k: v.contiguous() for k, v in w.items()}}, '{path.stem}.safetensors')\""
    )


def _renamed(name: str) -> str:
    for pattern, new in RENAMED:
        name = pattern.sub(new, name)
    return name


def _joined(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With queries, keys and values, where they are apart, one after another in one array."""
    for name in [name for name in arrays if ".attn.q." in name]:
        parts = [name.replace(".attn.q.", f".attn.{letter}.") for letter in "qkv"]
        if all(part in arrays for part in parts):
            arrays[name.replace(".attn.q.", ".attn.qkv.")] = np.concatenate([arrays.pop(part) for part in parts])
    return arrays
