"""slotjax follows the original program of SAVi: outputs, gradients and training steps recorded from it.

`pytest tests/test_parity_savi.py -s` prints the worst relative errors.
"""

from functools import partial

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from helpers import config_of

from slotjax import apply, build_model
from slotjax.convert import from_savi
from slotjax.losses.reconstruction import sse
from slotjax.training.optimizer import build_optimizer, learning_rate
from slotjax.training.parallel import Parallel
from slotjax.training.state import create_state
from slotjax.training.step import Step

TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 5e-4
VANISHING = (  # in theory; recorded as noise
    "attention/norm_slots/bias",
    "predictor/attention/key/bias",
    "decoder/mask/bias",
)
STARTS = ("CoordinateEncoderStateInit_0", "ParamStateInit_0")
KINDS = {  # of the model: what is not as in `boxes`
    "boxes": {},
    "gauss": {"initializer": {"name": "gaussian"}},
    "learned": {"initializer": {"name": "learned"}},
    "iter3": {"initializer": {"name": "gaussian"}, "num_iterations": 3, "mlp_dim": 24},
    "qkv24": {
        "initializer": {"name": "gaussian"},
        "qkv_dim": 24,
        "predictor": {"name": "transformer", "heads": 4, "qkv_dim": 32, "mlp_dim": 32, "norm": "pre"},
    },
}


@pytest.fixture(scope="module")
def recording(shared_data) -> dict:
    return dict(np.load(shared_data / "golden" / "golden_savi.npz"))


def fields_of(kind: str) -> dict:
    """The model of `configs/video.py:savi` at the recording's sizes."""
    fields = config_of("video:savi").model.to_dict()
    fields |= {"resolution": (24, 24), "num_slots": 5, "slot_dim": 16}
    fields["initializer"] = {"name": "cues", "hidden_dim": 24}
    fields["encoder"] |= {"channels": (12,) * 4, "mlp_dim": 20}
    fields["predictor"] |= {"qkv_dim": 16, "mlp_dim": 32}
    fields["decoder"] |= {"channels": (12,) * 4}
    return fields | KINDS[kind]


def reduced(kind: str):
    return build_model(fields_of(kind))


def weights(recording: dict, kind: str, prefix: str = "param") -> dict:
    """The original's parameters of a kind, or their gradients, by their names."""
    shared = golden.weights(recording, prefix) if prefix == "param" else {}
    own = golden.weights(recording, f"{kind}/{prefix}")
    found = shared | own
    wanted = {"boxes": STARTS[:1], "learned": STARTS[1:]}.get(kind, ())
    return {name: x for name, x in found.items() if name.split("/")[0] not in STARTS or name.split("/")[0] in wanted}


def run(model, params, batch: dict):
    """Loss and output."""
    options = {"cues": batch["cues"]} if "cues" in batch else {"key": jax.random.key(0)}
    out = model.aimed(apply(model, params, batch["video"] * 2 - 1, **options), batch)
    return sse(out).mean(), out


def batch_of(recording: dict, kind: str) -> dict:
    starts = {"boxes": {"boxes": recording["in/boxes"][:, 0]}, "learned": None}
    cues = starts[kind] if kind in starts else {"slots": recording[f"{kind}/init/slots"]}
    batch = {"video": jnp.asarray(recording["in/video"]), "flow": jnp.asarray(recording["in/flow_raw"])}
    return batch | ({"cues": cues} if cues else {})


def check(title: str, errors: dict[str, float], tolerance: float) -> None:
    worst = max(errors, key=lambda name: errors[name])
    print(f"\n{title:12} {len(errors):3} tensors, worst {errors[worst]:.1e} ({worst})", end="")
    assert errors[worst] <= tolerance, {name: error for name, error in errors.items() if error > tolerance}


def test_positions_of_frames_are_the_originals(recording):
    from slotjax.nn.positions import corners

    for part, side in (("FrameEncoder_0", 24), ("SpatialBroadcastDecoder_0", 3)):
        recorded = recording[f"param/{part}/PositionEmbedding_0/pos_embedding"]
        np.testing.assert_allclose(corners(side, side)[None], recorded, atol=1e-7)


@pytest.mark.parametrize(
    "kind", [kind if kind == "boxes" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_outputs_and_gradients(recording, kind):
    model, params = reduced(kind), from_savi(weights(recording, kind))
    both = jax.jit(jax.value_and_grad(partial(run, model), has_aux=True))
    (loss, out), gradients = both(params, batch_of(recording, kind))
    ours = {
        "loss": loss,
        "states/corrected": out.slots,
        "dec/alphas": out.masks[..., None],
        "out/flow": out.reconstruction,
        "out/segmentations": None,  # ties: see the masks
    }
    if kind == "boxes":
        ours["corr/attn"] = out.attention[None]
        ours["dec/flow_slots"] = out.components[:, ::3]
        assert golden.relative_error(out.target, recording["in/flow"]) == 0
    errors = {
        name: golden.relative_error(value, recording[f"{kind}/{name}"])
        for name, value in ours.items()
        if value is not None and f"{kind}/{name}" in recording
    }
    assert {"loss", "states/corrected"} <= errors.keys()
    check(kind, errors, TOLERANCE)

    found = traverse_util.flatten_dict(gradients, sep="/")
    recorded = recorded_gradients(recording, kind)
    errors = {name: golden.relative_error(found[name], x) for name, x in recorded.items() if name not in VANISHING}
    assert len(errors) > 15
    check(f"{kind} grad", errors, GRADIENT_TOLERANCE)
    for name in set(VANISHING) & set(recorded):
        assert np.abs(found[name]).max() < 1e-6 * loss


def recorded_gradients(recording: dict, kind: str) -> dict:
    """By slotjax's names; what was not recorded, of the parts that all kinds share, is left out."""
    named = weights(recording, kind, "grad")
    params = weights(recording, kind)
    marked = {name: named.get(name, np.full(x.shape, np.nan, np.float32)) for name, x in params.items()}
    flat = traverse_util.flatten_dict(from_savi(marked), sep="/")
    return {name: x for name, x in flat.items() if np.isfinite(x).all() and "log_sigma" not in name and np.any(x)}


def test_a_video_goes_on_from_its_predicted_slots(recording):
    """The original's evaluation in slices goes on from the predicted state, slotjax from the corrected one."""
    model, params = reduced("boxes"), from_savi(weights(recording, "boxes"))
    corrected, predicted = (jnp.asarray(recording[f"boxes/states/{name}"]) for name in ("corrected", "predicted"))
    predict = partial(model.apply, {"params": params}, method=lambda model, slots: model.predictor(slots))
    ours = jax.vmap(predict, 1, 1)(corrected)
    assert golden.relative_error(ours, predicted) < TOLERANCE


def test_centers_start_slots(recording):
    named = golden.weights(recording, "param") | golden.weights(recording, "com/param")
    named = {name: x for name, x in named.items() if not name.startswith("ParamStateInit")}
    model = build_model(fields_of("boxes") | {"initializer": {"name": "cues", "cue": "centers", "hidden_dim": 24}})
    start = from_savi(named)["attention"]["initializer"]
    boxes = jnp.asarray(recording["in/boxes"])
    slots = model.attention.initializer.apply({"params": start}, None, 5, model.cues({"boxes": boxes})["cues"])
    assert golden.relative_error(slots, recording["com/slots"]) < TOLERANCE


def test_the_learning_rate_is_the_originals(recording):
    config = config_of("video:savi").train
    config.warmup_steps, config.num_steps, config.learning_rate = 2500, 100_000, 2e-4
    rates = [float(learning_rate(config)(jnp.int32(step))) for step in recording["lr/step"]]
    np.testing.assert_allclose(rates, recording["lr/value"], rtol=1e-4, atol=1e-9)


@pytest.mark.slow
def test_five_training_steps(recording):
    config = config_of("video:savi").train
    config.update(learning_rate=2e-3, warmup_steps=2, num_steps=8)
    assert config.clip_norm == 0.05
    model, params = reduced("boxes"), from_savi(weights(recording, "boxes"))

    def loss(params, batch, keys, step):
        del keys, step
        value, _ = run(model, params, batch)
        return value, {"loss": value}

    train = Parallel("jit", 2, jax.devices()[:1]).over_batch(
        Step(loss, build_optimizer(config), jax.random.key(0)).train
    )
    batch = batch_of(recording, "boxes") | {"index": jnp.arange(2)}
    state, rows = create_state(params, build_optimizer(config), ema=False), []
    for _ in range(5):
        state, metrics = train(state, batch)
        rows.append(metrics)
    ours = {name: jnp.stack([row[name] for row in rows]) for name in ("loss", "grad_norm")}
    errors = {name: golden.relative_error(value, recording[f"steps/{name}"][:5]) for name, value in ours.items()}
    check("steps", errors, TOLERANCE)
    rates = [learning_rate(config)(step) for step in range(5)]
    np.testing.assert_allclose(rates, recording["steps/lr"], rtol=1e-5)

    after = golden.weights(recording, "steps/param")
    marked = {name: after.get(name, np.full(x.shape, np.nan)) for name, x in weights(recording, "boxes").items()}
    found, recorded = (traverse_util.flatten_dict(tree, sep="/") for tree in (state.params, from_savi(marked)))
    recorded = {name: x for name, x in recorded.items() if np.isfinite(x).all() and name not in VANISHING}
    errors = {name: golden.relative_error(found[name], x) for name, x in recorded.items()}
    assert len(errors) > 40
    check("after five", errors, GRADIENT_TOLERANCE)


@pytest.fixture(scope="module")
def plus(shared_data) -> dict:
    return dict(np.load(shared_data / "golden" / "golden_savipp.npz"))


@pytest.mark.slow
def test_savi_plus_plus(plus):
    """Residual encoder, transformer and depth; "early fusion" of the original is the same as drawing slot by slot."""
    fields = fields_of("boxes") | {"targets": ("depth", "flow"), "qkv_dim": 24}
    fields["encoder"] = {"name": "resnet", "channels": (32, 64), "blocks": (1, 2), "strides": (1, 2), "mlp_dim": 24}
    fields["encoder"] |= {"token_dim": 16, "layers": 2, "heads": 4, "hidden": 32}
    fields["decoder"] |= {"channels": (12,) * 3, "kernels": (5,) * 3, "strides": (2, 2, 2)}
    model, params = build_model(fields), from_savi(golden.weights(plus, "param"))
    batch = {"video": jnp.asarray(plus["in/video"]), "flow": jnp.asarray(plus["in/flow_raw"])}
    batch |= {"depth": jnp.asarray(plus["in/depth_metres"]), "cues": {"boxes": plus["in/boxes"][:, 0]}}
    both = jax.jit(jax.value_and_grad(partial(run, model), has_aux=True))
    (loss, out), gradients = both(params, batch)
    ours = {
        "loss": loss,
        "states/corrected": out.slots,
        "dec/alphas": out.masks[..., None],
        "out/depth": out.reconstruction[..., :1],
        "out/flow": out.reconstruction[..., 1:],
        "in/depth": out.target[..., :1],
    }
    errors = {name: golden.relative_error(value, plus[name]) for name, value in ours.items()}
    check("SAVi++", errors, TOLERANCE)

    marked = {name: np.full(x.shape, np.nan, np.float32) for name, x in golden.weights(plus, "param").items()}
    recorded = traverse_util.flatten_dict(from_savi(marked | golden.weights(plus, "grad")), sep="/")
    found = traverse_util.flatten_dict(gradients, sep="/")
    errors = {
        name: golden.relative_error(found[name], x)
        for name, x in recorded.items()
        if np.isfinite(x).all() and name not in VANISHING and not name.endswith("attention/key/bias")
    }
    for i, j, block, conv in ((1, 0, "block1", "conv2"), (1, 1, "block2", "conv1"), (1, 1, "block2", "conv2")):
        sample = plus[f"gradsample/FrameEncoder_0/ResNet_0/stage2/{block}/{conv}/kernel"]
        ours = found[f"encoder/stage{i}_block{j}/conv{int(conv[-1]) - 1}/kernel"][:, :, ::4, ::4]
        errors[f"{block}/{conv}"] = golden.relative_error(ours, sample)
    assert len(errors) > 90
    check("SAVi++ grad", errors, GRADIENT_TOLERANCE)


def test_weights_that_are_missing_or_left_over_are_named(recording):
    named = golden.weights(recording, "param")
    with pytest.raises(ValueError, match="nothing in the model takes Odd_0/kernel"):
        from_savi(named | {"Odd_0/kernel": np.zeros(1)})
    del named["SlotAttention_0/LayerNorm_0/scale"]
    with pytest.raises(
        ValueError, match="'SlotAttention_0/LayerNorm_0/scale' is missing; expected the original's names"
    ):
        from_savi(named)
