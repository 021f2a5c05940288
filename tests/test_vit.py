"""Pretrained vision transformers: equal to the programs that they come from, and refused where they do not fit."""

import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import vit_models
from safetensors.numpy import load_file, save_file

import slotjax
from slotjax.errors import UserError
from slotjax.nn.bicubic import bicubic
from slotjax.nn.vit import Block, VisionTransformer

jitted = jax.jit(slotjax.features, static_argnames="backbone")


def blocks_of(path, images, **fields) -> np.ndarray:
    """What every block makes of the images, through the last norm: [blocks, b, n, d]."""
    backbone, weights = slotjax.load_backbone(path, **fields)
    keep = {"capture_intermediates": lambda module, _: isinstance(module, Block)}
    run = jax.jit(lambda x: backbone.apply({"params": weights}, x, mutable=["intermediates"], **keep)[1])
    blocks = run(images)["intermediates"]
    blocks = np.stack([blocks[f"block{i}"]["__call__"][0] for i in range(backbone.depth)])
    blocks = blocks[:, :, -(images.shape[1] * images.shape[2] // backbone.patch**2) :]
    centered = blocks - blocks.mean(-1, keepdims=True)
    normed = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + backbone.epsilon)
    return normed * weights["norm"]["scale"] + weights["norm"]["bias"]


@pytest.fixture(scope="module")
def recorded(data_dir):
    return np.load(data_dir / "vit" / "recorded.npz")


@pytest.mark.parametrize("picture", vit_models.pictures(), ids=["native", "other"])
@pytest.mark.parametrize("name", vit_models.NAMES)
def test_all_blocks_equal_those_of_other_programs(data_dir, recorded, name, picture):
    theirs = recorded[f"{name}/{picture.shape[1]}x{picture.shape[2]}"]
    ours = blocks_of(data_dir / "vit" / f"{name}.safetensors", picture, heads=vit_models.HEADS)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_features_are_the_tokens_after_a_block(data_dir, recorded, layer):
    backbone, weights = slotjax.load_backbone(data_dir / "vit" / "hf_dinov2.safetensors", heads=2, layer=layer)
    ours = jitted(backbone, weights, vit_models.pictures()[1])
    np.testing.assert_allclose(ours, recorded["hf_dinov2/16x32"][layer - 1], atol=1e-5)
    assert len(weights) == (layer or 2) + 4  # later blocks take no memory


@pytest.mark.parametrize("name", vit_models.NAMES)
def test_all_blocks_equal_those_of_the_programs_themselves(tmp_path, name):
    pytest.importorskip("torch")
    pytest.importorskip("transformers" if name.startswith("hf") else "timm")
    made, blocks = vit_models.model(name, width=128)
    vit_models.write(made, tmp_path / "weights.safetensors")
    for picture in vit_models.pictures():
        theirs = vit_models.outputs(name, blocks, picture)
        ours = blocks_of(tmp_path / "weights.safetensors", picture)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("antialias", [False, True])
def test_interpolation_keeps_what_it_must(antialias):
    for have, size in ((5, 5), (5, 9), (9, 4)):
        matrix = bicubic(have, size, antialias)
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)  # neither end is favoured
    # Cubic convolution with the kernel's a of -0.5 goes through straight lines; away from the ends that is seen.
    line = bicubic(16, 32, True) @ np.arange(16)
    np.testing.assert_allclose(line[8:-8], (np.arange(32)[8:-8] + 0.5) / 2 - 0.5, atol=1e-5)


def test_pictures_are_taken_as_they_are_elsewhere_in_the_library(data_dir):
    path = data_dir / "vit" / "timm_dino.safetensors"
    backbone, weights = slotjax.load_backbone(path, heads=2)
    assert hash(backbone) == hash(slotjax.load_backbone(path, heads=2)[0])
    black = jitted(backbone, weights, -np.ones((1, 16, 24, 3), np.float32))
    assert black.shape == (1, 2 * 3, vit_models.WIDTH)
    other = backbone.clone(mean=vit_models.IMAGENET[0], spread=vit_models.IMAGENET[1])
    plain = slotjax.features(other, weights, -np.ones((1, 16, 24, 3), np.float32))
    np.testing.assert_allclose(black, plain, atol=1e-5)


def test_bfloat16_is_near_float32(data_dir):
    path, picture = data_dir / "vit" / "timm_dinov2.safetensors", vit_models.pictures()[0]
    exact, near = (
        jitted(*slotjax.load_backbone(path, heads=2, dtype=dtype), picture) for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert near.dtype == jnp.float32 and 0 < float(jnp.abs(exact - near).max()) < 0.2


def test_what_is_written_beside_the_weights_is_heeded(data_dir, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((data_dir / "vit" / "hf_dino.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(
        json.dumps({"num_attention_heads": 4, "hidden_size": 16, "hidden_act": "gelu"})
    )
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5, 0.4, 0.3]}))
    backbone, _ = slotjax.load_backbone(tmp_path / "model.safetensors")
    assert (backbone.heads, backbone.mean, backbone.spread) == (4, (0.5, 0.4, 0.3), ())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    backbone, _ = slotjax.load_backbone(tmp_path / "model.safetensors")
    assert (backbone.mean, backbone.spread) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_std": [0.5]}))
    with pytest.raises(UserError, match=r"image_std=\[0.5\] beside it; give red, green and blue"):
        slotjax.load_backbone(tmp_path / "model.safetensors")
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 16, "hidden_act": "gelu_new"}))
    with pytest.raises(UserError, match="hidden_act=gelu_new"):
        slotjax.load_backbone(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 32, "num_attention_heads": 4}))  # another's
    with pytest.raises(UserError, match=r"heads=0: no published transformer is 16 wide, .* load_backbone\(FILE, heads"):
        slotjax.load_backbone(tmp_path / "model.safetensors")


def test_heads_are_as_published():
    assert [VisionTransformer(width=width).num_heads for width in (192, 384, 768, 1024, 1280)] == [3, 6, 12, 16, 16]


def test_pictures_that_do_not_fit_are_refused(data_dir):
    backbone, weights = slotjax.load_backbone(data_dir / "vit" / "timm_vit.safetensors", heads=2)
    for size, remedy in (((20, 24), "16x24|24x24"), ((4, 4), "8x8"), ((0, 8), "8x8")):
        with pytest.raises(UserError, match=rf"pictures of {size[0]}x{size[1]}: .* patches of 8x8; .*({remedy})"):
            slotjax.features(backbone, weights, np.zeros((1, *size, 3), np.float32) - 0.5)
    with pytest.raises(UserError, match="expected \\[b, h, w, 3\\]"):
        slotjax.features(backbone, weights, np.zeros((16, 16, 3), np.float32))
    with pytest.raises(UserError, match="bytes are"):
        slotjax.features(backbone, weights, np.zeros((1, 16, 16, 3), np.uint8))


def changed(data_dir, tmp_path, name="timm_dinov2", drop=(), **more):
    """A file of weights with some of them left out and others put in."""
    arrays = load_file(data_dir / "vit" / f"{name}.safetensors")
    path = tmp_path / "weights.safetensors"
    save_file({key: value for key, value in (arrays | more).items() if key not in drop}, path)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm_pre.weight": np.zeros(16)}, r"no plain vision transformer \(.*norm_pre.weight"),
        ({"blocks.0.attn.q_norm.weight": np.zeros(8)}, r"no plain vision transformer \(.*q_norm"),
        ({"drop": ["blocks.1.norm2.bias", "norm.bias"]}, r"lacks norm.bias and 1 more; copy"),
        ({"drop": ["pos_embed"]}, r"lacks pos_embed; copy"),
        ({"drop": ["blocks.0.ls1.gamma"]}, r"lacks blocks.0.ls1.gamma"),
        ({"pos_embed": np.zeros((1, 7, 16))}, "7 positions, which are no square"),
        ({"patch_embed.proj.weight": np.zeros((16, 3, 8, 4))}, "patches of 8x4"),
        ({"blocks.1.mlp.fc1.weight": np.zeros((5, 16))}, r"block1.*dense0.*kernel.* is \(16, 5\)"),
        ({"blocks.0.mlp.fc1.weight": np.zeros((0,))}, "dense0|no plain"),
    ],
)
def test_other_weights_are_refused_in_one_line(data_dir, tmp_path, change, said):
    path = changed(data_dir, tmp_path, drop=change.pop("drop", ()), **change)
    with pytest.raises(UserError, match=said) as caught:
        slotjax.load_backbone(path, heads=2)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_files_of_other_kinds_are_refused_in_one_line(tmp_path):
    save_file({"conv1.weight": np.zeros((4, 3, 7, 7))}, tmp_path / "resnet.safetensors")
    (tmp_path / "dino.pth").write_bytes(pickle.dumps({"cls_token": 0}))
    (tmp_path / "renamed.safetensors").write_bytes(pickle.dumps({"cls_token": 0}))
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 20)
    for name, said in (
        ("resnet.safetensors", r"no plain vision transformer \(.*conv1.weight"),
        ("dino.pth", r"is a pickle.*torch.load\('dino.pth', 'cpu'\).*'dino.safetensors'"),
        ("renamed.safetensors", "is a pickle"),
        ("cut.safetensors", "damaged"),
        ("gone.safetensors", "is no file"),
        (".", "is no file"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            slotjax.load_backbone(tmp_path / name)
        assert "\n" not in str(caught.value)
