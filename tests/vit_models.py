"""Small vision transformers of `transformers` and `timm` with random weights, and what they make of pictures.

`python tests/vit_models.py` writes the recordings in tests/data/vit; it needs PyTorch, transformers and timm.
"""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "data" / "vit"
PATCH, SIDE, WIDTH, HEADS, DEPTH = 8, 24, 16, 2, 2
SIZES = ((24, 24), (16, 32))  # the native one, and another
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
NAMES = ("hf_vit", "hf_dino", "hf_dinov2", "hf_dinov2_registers", "hf_mae") + (
    "timm_vit", "timm_dino", "timm_dinov2", "timm_dinov2_registers",
)  # fmt: skip


def pictures() -> list[np.ndarray]:
    """Noise of the two sizes, [1, h, w, 3] in [-1, 1]."""
    return [np.random.default_rng(0).uniform(-1, 1, (1, *size, 3)).astype(np.float32) for size in SIZES]


def model(name: str, **sizes):
    """A model with weights that float16 can hold, and (images [b, 3, h, w]) -> every block's tokens, normed."""
    import torch

    torch.manual_seed(0)
    made, blocks = (huggingface if name.startswith("hf") else timm)(name, **sizes)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_((parameter + 0.1 * torch.randn_like(parameter)).half().float())
    return made.eval(), blocks


def huggingface(name: str, heads: int = HEADS, width: int = WIDTH):
    import transformers as hf

    sizes = {"hidden_size": width, "num_hidden_layers": DEPTH, "num_attention_heads": heads, "image_size": SIDE}
    sizes["patch_size"] = PATCH
    plain, resized = sizes | {"intermediate_size": 2 * width}, {"interpolate_pos_encoding": True}
    if name == "hf_mae":
        made, options = hf.ViTMAEModel(hf.ViTMAEConfig(**plain, mask_ratio=0.0)), resized
    elif name == "hf_dinov2":
        made, options = hf.Dinov2Model(hf.Dinov2Config(**sizes, mlp_ratio=2)), {}
    elif name == "hf_dinov2_registers":
        made, options = hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**sizes, mlp_ratio=2)), {}
    else:
        made, options = hf.ViTModel(hf.ViTConfig(**plain), add_pooling_layer=name == "hf_vit"), resized

    def blocks(images):
        import torch

        count = images.shape[2] * images.shape[3] // PATCH**2
        order = {"noise": torch.arange(count)[None] / count} if name == "hf_mae" else {}
        states = made(images, output_hidden_states=True, **options, **order).hidden_states[1:]
        return [made.layernorm(state)[:, -count:] for state in states]

    return made, blocks


def timm(name: str, heads: int = HEADS, width: int = WIDTH):
    from timm.models.vision_transformer import VisionTransformer

    kinds = {"timm_vit": {"num_classes": 3}, "timm_dinov2": {"init_values": 1e-5}}
    kinds["timm_dinov2_registers"] = {"init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True}
    sizes = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": width, "depth": DEPTH, "num_heads": heads}
    more = {"num_classes": 0, "mlp_ratio": 2, "dynamic_img_size": True} | kinds.get(name, {})
    made = VisionTransformer(**sizes, **more)
    options = {"norm": True, "output_fmt": "NLC", "intermediates_only": True}
    return made, lambda images: made.forward_intermediates(images, indices=DEPTH, **options)


def normalised(images: np.ndarray, name: str):
    """What the models take: [b, 3, h, w], less the mean and over the spread that they were trained with."""
    import torch

    mean, spread = (np.array(x, np.float32) for x in (HALF if name.endswith("_vit") else IMAGENET))
    return torch.from_numpy((((images + 1) / 2 - mean) / spread).transpose(0, 3, 1, 2))


def outputs(name: str, blocks, images: np.ndarray) -> np.ndarray:
    """[blocks, b, n, d]."""
    import torch

    with torch.no_grad():
        return np.stack([tokens.numpy() for tokens in blocks(normalised(images, name))])


def write(made, path: Path) -> None:
    """Its weights in 16 bits, without what Hugging Face's programs write beside them."""
    from safetensors.torch import save_file

    save_file({name: array.half().contiguous() for name, array in made.state_dict().items()}, path)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    recorded = {}
    for each in NAMES:
        made, blocks = model(each)
        write(made, FOLDER / f"{each}.safetensors")
        for picture in pictures():
            size = "x".join(map(str, picture.shape[1:3]))
            recorded[f"{each}/{size}"] = outputs(each, blocks, picture)
    np.savez_compressed(FOLDER / "recorded.npz", **recorded)
