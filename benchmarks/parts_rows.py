"""The rows of docs/parts.md: what is changed in which recipe, one part at a time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenes:
    """What all rows of a table have in common: a recipe, and how it is cut short.

    Attributes:
      rows: the names of those in it.
    """

    config: str
    changes: tuple[str, ...]
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A part in place of the recipe's own.

    Attributes:
      changes: of the config's fields.
      reason: what it is, and who says so.
    """

    changes: tuple[str, ...]
    reason: str


def row(changes: str, reason: str) -> Row:
    return Row(tuple(changes.split()), reason)


def stages(*fields: dict[str, float | str]) -> str:
    """The change that these stages are."""
    return f"train.stages={fields}".replace(" ", "")


FADING = stages(
    *({"until": until, "model.initializer.sigma": s} for until, s in ((300, 1.0), (600, 0.67), (900, 0.33)))
)
ONCE_PARTED = stages({"until": 1500, "model.selection": "all"})
PRICED = f"model.num_slots=11 {ONCE_PARTED} train.losses.kept=((1500,0.0),(1501,0.3))"
SMALL_RESNET = "channels=(32,64) blocks=(1,1) strides=(2,1) layers=1 hidden=128"
SMALL_PATCHES = "model.decoder.patch=2 model.decoder.width=64 model.decoder.heads=4"
ROWS: dict[str, Row] = {
    "baseline": row("", "the recipe as it is"),
    "iterations_3": row("model.num_iterations=3", "the paper's iterations (Locatello et al., 2020)"),
    "normalize_inputs": row(
        "model.normalize=inputs", "no competition: the softmax of ordinary attention (Locatello et al., 2020)"
    ),
    "sinkhorn": row("model.normalize=sinkhorn", "slots of equal size: optimal transport (Zhang et al., 2023)"),
    "mesh": row("model.normalize=mesh", "slots of equal size that hardly share: minimised entropy (there)"),
    "centered": row("model.centered=True", "matches count from their mean over the picture (a step towards transport)"),
    "update_sum": row("model.update=sum", "a slot gathers a sum and no mean (Locatello et al., 2020, sec. 4.3)"),
    "update_scaled": row("model.update=scaled", "the sum over the number of tokens (Krimmel et al., 2024)"),
    "update_layer_norm": row("model.update=layer_norm", "the sum, normalised over its features (there)"),
    "update_scalar_norm": row(
        "model.update=scalar_norm", "the sum, normalised by one mean and one deviation for all pictures (there)"
    ),
    "heads_4": row("model.heads=4", "four competitions, each with its share of a slot (as in SAVi's program)"),
    "noise": row("model.noise=0.5", "noise on the tokens that fades over the iterations (MetaSlot, Liu et al., 2025)"),
    "gradient_last": row("model.gradient=last", "gradient of the last iteration alone (Chang et al., 2022, sec. 4)"),
    "bo_qsa": row(
        "model.gradient=straight_through",
        "BO-QSA: gradient of the last iteration, which the start gets too (Jia et al., 2023)",
    ),
    "bo_qsa_noise": row(
        f"model.gradient=straight_through {FADING}", "the same, with noise on the start that fades over the first steps"
    ),
    "implicit": row("model.gradient=implicit", "gradient of a fixed point (Chang et al., 2022, sec. 3)"),
    "isa": row(
        "model.attention=invariant model.frame=scaled model.decoder.frame=scaled model.encoder.position_scale=0.0"
        " train.clip_norm=0.05",
        "slots attend and are drawn in frames of their own (Biza et al., 2023)",
    ),
    "frame_slot": row(
        "model.decoder.frame=slot", "slots are drawn around where they attend (there, the decoder's half)"
    ),
    "frame_picture": row("model.decoder.frame=picture", "slots are drawn where they are in the picture"),
    "gaussian": row("model.initializer.name=gaussian", "every slot starts from one Gaussian (Locatello et al., 2020)"),
    "predicted": row(
        "model.initializer.name=predicted train.losses.start=0.1",
        "slots start where they will likely end (SmoothSA, Zhao et al., 2025)",
    ),
    "glorot": row("model.encoder.kernel_init=glorot", "the original's kernels in the encoder"),
    "groups_8": row("model.encoder.groups=8", "GroupNorm in the encoder (SAVi, Kipf et al., 2022)"),
    "resnet": row(
        " ".join(f"model.encoder.{field}" for field in ("name=resnet", *SMALL_RESNET.split())),
        "a small one of SAVi++'s encoder (Elsayed et al., 2022)",
    ),
    "unet": row("model.encoder.name=unet model.encoder.stride=2", "tokens that see their surroundings: a small U-Net"),
    "position_shared": row(
        "model.decoder.position=shared", "slot and place only add up in the decoder, as in the paper"
    ),
    "spatial_broadcast": row(
        "model.decoder.name=spatial_broadcast model.decoder.channels=(32,32,32) model.decoder.kernels=(5,5,5)"
        " model.decoder.strides=(2,2,1)",
        "the paper's decoder, small (Watters et al., 2019)",
    ),
    "mixer": row(
        f"model.decoder.name=mixer {SMALL_PATCHES}",
        "slots are mixed at each place, which draws once (OSRT, Sajjadi et al., 2022)",
    ),
    "transformer": row(
        f"model.decoder.name=transformer model.decoder.blocks=2 {SMALL_PATCHES} model.decoder.hidden=128",
        "patches one after another, each from the slots and those before (SLATE's, without its tokenizer)",
    ),
    "common_background": row("model.common_background=True", "the first slot draws the same in every picture"),
    "mse_alone": row(
        "train.losses.entropy=((1,0.0),) train.losses.expected=((1,0.0),)",
        "the paper's loss: undecided masks and shared objects have no price",
    ),
    "chroma_7": row("train.losses.chroma=7.0", "errors of colour weigh more (after Jäckl et al., 2024)"),
    "ssim": row("train.losses.ssim=0.1", "structural similarity beside the squared error (Wang et al., 2004)"),
    "perceptual": row(
        "train.teacher=quick train.losses.perceptual=0.01",
        "features of a frozen encoder, the packaged `quick`'s, beside pixels (Johnson et al., 2016)",
    ),
    "mixture": row(
        "train.losses.mse=0.0 train.losses.mixture=1.0",
        "the likelihood that segments go by, in place of the squared error (NEM, Greff et al., 2017)",
    ),
    "slots_11": row("model.num_slots=11", "more slots than objects"),
    "adaslot": row(
        f"model.selection=gumbel {PRICED}",
        "each slot says whether it is drawn, and has a price, once objects have parted (AdaSlot, Fan et al., 2024)",
    ),
    "stick_breaking": row(
        f"model.selection=stick_breaking {PRICED}",
        "slots are drawn, those with most of the picture first, until one says that it is enough, at the same price",
    ),
    "distinct": row(
        "model.num_slots=11 model.selection=distinct", "of slots that are alike one is drawn (after MetaSlot)"
    ),
    "muon": row(
        "train.optimizer=muon",
        "kernels learn by the orthogonal factor of their momentum (Jordan et al., 2024)",
    ),
    "all_slots": row("model.selection=all", "slots that a picture does not need are drawn too"),
    "needed": row(
        f"model.num_slots=11 model.selection=needed {ONCE_PARTED}",
        "slots without which the others draw the same are not drawn, once objects have parted",
    ),
}
SOME = ("baseline", "normalize_inputs", "sinkhorn", "update_scaled", "bo_qsa", "implicit", "isa")
SOME += ("frame_picture", "predicted", "groups_8", "unet", "slots_11", "all_slots")
AHEAD = ("baseline", "normalize_inputs", "bo_qsa", "isa", "unet")  # on CLEVR without patterns, and the recipe
PARTING = {"model.num_iterations": 2, "model.decoder.position": "shared", "model.selection": "all"}
CUT_CLEVR = (  # with the encoder, gradient and decoder that the recipe had
    "model.encoder.name=cnn",
    "model.encoder.kernels=(8,5,5,5)",
    "model.encoder.strides=(4,1,1,1)",
    "model.encoder.kernel_init=he",
    "model.gradient=all",
    "model.decoder.hidden=(128,128)",
    "model.resolution=(64,64)",
    "model.decoder.patch=4",
    "data.pool=4000",
    "train.num_steps=10000",
    "train.eval_every=10000",
    "train.learning_rate=1e-3",
    "train.warmup_steps=500",
    "train.losses.expected=((8000,0.0),(8500,0.1))",
    stages(
        *(
            {"until": until, "model.background": head_start} | PARTING
            for until, head_start in ((800, 3.0), (1500, 2.0), (2200, 1.0))
        ),
        {"until": 3000} | PARTING,
        {"until": 7000, "model.selection": "all"},
    ),
)
SCENES = {
    "sprites": Scenes(
        "configs/quick.py",
        (
            "train.num_steps=4500",
            "train.eval_every=4500",
            "train.losses.entropy=((1500,0.0),(1501,0.1))",
            "train.losses.expected=((3500,0.0),(3501,0.25))",
        ),
        tuple(name for name in ROWS if name not in ("frame_picture", "all_slots")),
    ),
    "clevr": Scenes("configs/clevr.py:small", CUT_CLEVR, SOME),
    "textured": Scenes(
        "configs/clevr.py:textured,small",
        ("data.options.max_objects=6", "model.num_slots=7", *CUT_CLEVR),
        AHEAD,
    ),
}
