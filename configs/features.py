"""Objects by the features of a pretrained vision transformer, as in DINOSAUR (Seitzer et al., 2023).

    python train.py --config configs/features.py --config.model.backbone.weights=FILE.safetensors \\
        --config.data.path=COCO

The numbers are those of the paper's appendix E for COCO and ViT-B/16 (DINO), and of its program
(github.com/amazon-science/object-centric-learning-framework, configs/experiment/projects/bridging/dinosaur). Variants,
which combine:

    voc             reads PASCAL VOC
    clevrtex        reads ClevrTex
    folder          reads a folder of any pictures
    textured        renders CLEVR-like scenes with patterns on everything
    masks           reads CLEVR-with-masks TFRecords, such scenes kept by slotjax.data.export among them
    autoregressive  draws features one after another by a transformer, as in DINOSAUR's appendix
    spot            the same in orders drawn at random (SPOT, Kakogeorgiou et al., 2024; github.com/gkakogeorgiou/spot)
    student         is the second stage of SPOT: learns from the masks of `--config.train.teacher=RUN`. There it also
                    trains the backbone's last four blocks; here the backbone stays as it is
    mixer           mixes slots before it draws, once for each place (VideoSAUR, Zadaianchuk et al., 2023)
    vits14          is for ViT-S/14 (DINOv2; github.com/martius-lab/videosaur, configs/dinosaur/coco_base14_dinov2)
    bf16            computes in bfloat16
    small           is a recipe for two CPU cores
    tiny            runs in seconds, without weights from anywhere
"""

from ml_collections import ConfigDict

from slotjax.config.variants import apply_variants, bf16, experiment

SMALL = {
    "mlp": {"hidden": (128, 128), "frame": "slot", "position": "own"},
    "mixer": {"width": 64, "blocks": 2, "heads": 4, "hidden": (512, 512), "frame": "slot"},
    "transformer": {"width": 128, "hidden": 256, "blocks": 1, "heads": 2, "frame": "slot", "dropout": 0.8},
}
TINY = {
    "mlp": {"hidden": (16,)},
    "mixer": {"width": 16, "blocks": 1, "heads": 2, "hidden": (16,)},
    "transformer": {"width": 16, "hidden": 16, "blocks": 2, "heads": 2},
}


def get_config(variants: str | None = None) -> ConfigDict:
    model = {
        "name": "object_discovery",
        "backbone": {"name": "vit"},
        "resolution": (224, 224),
        "num_slots": 7,
        "slot_dim": 256,
        "mlp_dim": 1024,
        "encoder": {"name": "mlp", "hidden": 768, "mlp_dim": 256},
        "decoder": {"name": "mlp", "hidden": (2048, 2048, 2048), "patch": 1, "position": "learned"},
    }
    config = experiment(model, data={"name": "coco", "augment": "flip"})
    config.train.update(num_steps=500_000, clip_norm=1.0)
    pictures = {"voc": voc, "clevrtex": clevrtex, "folder": folder, "textured": textured, "masks": masks}
    return apply_variants(
        config,
        variants,
        pictures
        | {"autoregressive": autoregressive, "spot": spot, "student": student, "mixer": mixer}
        | {"vits14": vits14, "bf16": bf16, "small": small, "tiny": tiny},
    )


def voc(config: ConfigDict) -> None:
    config.data.name = "voc"
    config.model.num_slots = 6
    config.model.decoder.hidden = (1024, 1024, 1024)
    config.train.num_steps = 300_000


def clevrtex(config: ConfigDict) -> None:
    config.data.update(name="clevrtex", augment="none")
    config.model.num_slots = 11


def folder(config: ConfigDict) -> None:
    config.data.update(name="folder", augment="none", eval_images=0)


def textured(config: ConfigDict) -> None:
    config.data.update(name="clevr_textured", augment="none")
    config.data.options = ConfigDict({"min_objects": 3, "max_objects": 10})
    config.model.num_slots = 11


def masks(config: ConfigDict) -> None:
    config.data.update(name="clevr_with_masks", augment="none")
    config.data.options = ConfigDict()
    config.model.num_slots = 11


def autoregressive(config: ConfigDict) -> None:
    config.model.decoder = ConfigDict({"name": "transformer", "width": 768, "hidden": 3072, "blocks": 4, "heads": 8})
    if config.data.name == "voc":
        config.model.decoder.heads = 4


def spot(config: ConfigDict) -> None:
    autoregressive(config)
    config.model.decoder.update(heads=6, permutations=True)
    config.train.update(schedule="warmup_cosine", num_steps=92_400)  # 50 epochs of COCO, in each of the two stages


def student(config: ConfigDict) -> None:
    config.model.update(initializer={"name": "learned"}, gradient="straight_through")
    config.train.losses.distillation = 0.005


def mixer(config: ConfigDict) -> None:
    config.model.decoder = ConfigDict({"name": "mixer"})  # its defaults are the paper's, but for a slot's length


def vits14(config: ConfigDict) -> None:
    config.model.backbone.update(patch=14, width=384, hidden=1536, positions=(37, 37), layer_scale=True)
    config.model.encoder.hidden = 768


def small(config: ConfigDict) -> None:
    """Slots start apart and are drawn around where they attend: so they part within hundreds of steps."""
    config.data.augment = "none"  # so that features can be kept: --config.data.feature_cache
    config.model.update(slot_dim=64, mlp_dim=128, initializer={"name": "learned"})
    config.model.encoder.update(hidden=128, mlp_dim=64)
    config.model.decoder.update(SMALL[config.model.decoder.name])
    config.train.update(batch_size=8, num_steps=4_000, learning_rate=1e-3, schedule="cosine", warmup_steps=500)
    config.train.update(ema_decay=0.995, eval_every=500, checkpoint_every=500)


def tiny(config: ConfigDict) -> None:
    """A few steps of a small model on a random backbone: all of a run in seconds."""
    config.data.eval_images = min(config.data.eval_images, 8)
    config.model.update(resolution=(32, 32), slot_dim=16, mlp_dim=16)
    config.model.backbone.update(weights="", patch=8, width=32, heads=2, depth=2, hidden=32, positions=(4, 4))
    config.model.encoder.update(hidden=16, mlp_dim=16)
    config.model.decoder.update(TINY[config.model.decoder.name])
    config.train.update(batch_size=4, num_steps=6, warmup_steps=2, log_every=2, eval_every=3, checkpoint_every=3)
    config.eval.update(batch_size=8, pictures=2)
