"""slotjax follows the original TF2 program: outputs, gradients and training steps recorded from it.

`pytest tests/test_parity.py -s` prints the worst relative errors.
"""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import config_of

from slotjax import build_model, convert, slot_attention
from slotjax.config.schema import defaults
from slotjax.convert.tf2 import _attention as attention_of
from slotjax.convert.weights import Weights
from slotjax.losses.reconstruction import mse
from slotjax.nn.attention import attend
from slotjax.nn.positions import position_grid
from slotjax.nn.refinement import gru, layer_norm
from slotjax.nn.updates import EPSILON
from slotjax.training.optimizer import build_optimizer, learning_rate
from slotjax.training.parallel import Parallel
from slotjax.training.state import create_state
from slotjax.training.step import Step

TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 5e-4


@pytest.fixture(scope="session")
def recording(shared_data) -> dict:
    return dict(np.load(shared_data / "golden" / "golden_a.npz"))


@pytest.fixture(scope="session")
def model():
    return build_model(config_of("clevr").model)


@pytest.fixture(scope="session")
def params(recording) -> dict:
    return convert.from_tf2(golden.weights(recording))


def loss_function(model, noise):
    """The original's loss with the recorded draw: the mean squared error over all elements."""

    def loss(params, images):
        out, inner = model.apply(
            {"params": params},
            images,
            golden.initial_slots(params, noise),
            return_history=True,
            capture_intermediates=True,
        )
        return mse(out).mean(), (out, inner["intermediates"])

    return loss


@pytest.fixture(scope="session")
def run(model, params, recording):
    """Loss, (output, intermediates) and gradients on the recorded images."""
    images = golden.network_input(recording["image_u8"])
    function = jax.value_and_grad(loss_function(model, recording["noise"]), has_aux=True)
    (loss, (out, inner)), gradients = jax.jit(function)(params, images)
    return loss, out, inner, gradients


def check(title: str, errors: dict[str, float], tolerance: float) -> None:
    worst = max(errors, key=lambda name: errors[name])
    print(f"\n{title:12} {len(errors):3} tensors, worst {errors[worst]:.1e} ({worst})", end="")
    assert errors[worst] <= tolerance, {name: error for name, error in errors.items() if error > tolerance}


def test_encoder(run, params, recording):
    _, _, inner, _ = run
    encoder = inner["encoder"]
    tokens = encoder["__call__"][0]
    grid = (2, 128, 128, 64)
    normalised = layer_norm(params["attention"]["norm_inputs"], tokens)
    errors = {
        **golden.picture_errors(jax.nn.relu(encoder["conv3"]["__call__"][0]), recording, "enc/cnn_out", 1),
        **golden.picture_errors(encoder["position"]["__call__"][0], recording, "enc/pos_out", 1),
        **golden.picture_errors(tokens.reshape(grid), recording, "enc/feat", 1),
        **golden.picture_errors(normalised.reshape(grid), recording, "enc/norm_inputs_out", 1),
        "grid/encoder": golden.relative_error(position_grid(128, 128)[None, ::8, ::8], recording["grid/encoder"]),
        "grid/decoder": golden.relative_error(position_grid(8, 8)[None], recording["grid/decoder"]),
    }
    check("encoder", errors, TOLERANCE)


def iterations(params, tokens, start, history):
    """logits and renormalised attention [t, b, n, k], updates and GRU outputs [t, b, k, d] of every iteration."""
    features = layer_norm(params["norm_inputs"], tokens)
    before = jnp.concatenate([start[None], jnp.swapaxes(history.slots, 0, 1)[:-1]])
    keys = features @ params["project_k"]
    query = layer_norm(params["norm_slots"], before) @ params["project_q"] * 64**-0.5
    logits = jnp.einsum("bnd,tbkd->tbnk", keys, query)
    softmax = history.attention.transpose(1, 0, 3, 2)
    renormalised = (softmax + EPSILON) / (softmax + EPSILON).sum(2, keepdims=True)
    updates = jnp.stack([attend(params, features, slots, "slots", "mean")[0] for slots in before])
    return logits, softmax, renormalised, updates, gru(params["gru"], updates, before)


def test_slot_attention(run, params, recording):
    _, out, inner, _ = run
    start = golden.initial_slots(params, recording["noise"])
    history = inner["attention"]["__call__"][0][2]
    logits, softmax, renormalised, updates, gru_out = iterations(
        params["attention"], inner["encoder"]["__call__"][0], start, history
    )
    grid = (3, 2, 128, 128, 7)
    errors = {
        **golden.picture_errors(logits.reshape(grid), recording, "attn/logits", 2),
        **golden.picture_errors(softmax.reshape(grid), recording, "attn/softmax", 2),
        **golden.picture_errors(renormalised.reshape(grid), recording, "attn/renorm", 2),
        "slots/updates": golden.relative_error(updates, recording["slots/updates"]),
        "slots/gru_out": golden.relative_error(gru_out, recording["slots/gru_out"]),
        "slots/all": golden.relative_error(
            jnp.concatenate([start[None], jnp.swapaxes(out.slots_history, 0, 1)]), recording["slots/all"]
        ),
        "slots/final": golden.relative_error(out.slots, recording["slots/final"]),
    }
    check("attention", errors, TOLERANCE)


def test_decoder(run, recording):
    loss, out, inner, _ = run
    logits = inner["decoder"]["__call__"][0][..., 3:].reshape(2, 7, 128, 128, 1)
    errors = {
        "dec/pos_out": golden.relative_error(inner["decoder"]["position"]["__call__"][0], recording["dec/pos_out"]),
        **golden.picture_errors(out.components, recording, "out/recons", 2),
        **golden.picture_errors(logits, recording, "out/alpha_logits", 2),
        **golden.picture_errors(out.masks[..., None], recording, "out/masks", 2),
        "out/recons_slot0": golden.relative_error(out.components[0, :1], recording["out/recons_slot0"]),
        "out/masks_slot0": golden.relative_error(out.masks[0, :1, ..., None], recording["out/masks_slot0"]),
        "out/recon_combined": golden.relative_error(out.reconstruction, recording["out/recon_combined"]),
        "loss": golden.relative_error(loss, recording["loss"]),
    }
    check("decoder", errors, TOLERANCE)


def test_gradients(run, recording):
    *_, gradients = run
    recorded = convert.from_tf2(golden.weights(recording, "grad", "gradsample"))
    shift = recorded["attention"]["norm_slots"].pop("bias")
    ours = gradients["attention"]["norm_slots"]["bias"]
    # A shift common to all slots cancels in the softmax: in theory this gradient is zero.
    assert max(jnp.abs(shift).max(), jnp.abs(ours).max()) < 1e-7

    def error(path, recorded):
        ours = gradients
        for entry in path:
            ours = ours[entry.key]
        ours = ours if ours.shape == recorded.shape else ours[:, :, ::16, ::16]
        return jax.tree_util.keystr(path, simple=True, separator="/"), golden.relative_error(ours, recorded)

    errors = dict(jax.tree.leaves(jax.tree.map_with_path(error, recorded), is_leaf=lambda x: isinstance(x, tuple)))
    kernels = [("encoder", "encoder_cnn", f"conv{i}") for i in range(4)]
    kernels += [("decoder", "decoder_cnn", f"deconv{i}") for i in range(6)]
    for part, name, layer in kernels:
        ours = np.asarray(gradients[part][layer]["kernel"], np.float64)
        statistics = [np.abs(ours).sum(), np.sqrt((ours**2).sum())]
        recorded_statistics = recording[f"gradstat/{name}/{layer}/kernel"][1:]
        errors[f"gradstat/{name}/{layer}"] = golden.relative_error(statistics, recorded_statistics)
    check("gradients", errors, GRADIENT_TOLERANCE)


@pytest.mark.slow
def test_five_training_steps(model, params, shared_data):
    steps = dict(np.load(shared_data / "golden" / "golden_steps.npz"))
    config = defaults().train
    config.update(
        learning_rate=float(steps["hp/learning_rate"]),
        warmup_steps=int(steps["hp/warmup_steps"]),
        decay_rate=float(steps["hp/decay_rate"]),
        decay_steps=int(steps["hp/decay_steps"]),
    )

    def loss(params, batch, keys, step):
        del keys, step
        value, _ = loss_function(model, batch["noise"])(params, batch["image"])
        return value, {"loss": value}

    optimizer = build_optimizer(config)
    step = Step(loss, optimizer, jax.random.key(0))
    parallel = Parallel("jit", 2, jax.devices()[:1])
    train = parallel.over_batch(step.train)
    images = golden.network_input(steps["image_u8"])
    batch = {"image": images, "noise": jnp.asarray(steps["noise"]), "index": jnp.arange(2)}
    state, losses, starts = create_state(params, optimizer, ema=False), [], []
    for _ in range(5):
        state, metrics = train(state, batch)
        losses.append(metrics["loss"])
        starts.append(state.params["attention"]["initializer"])

    rates = [learning_rate(config)(step) for step in range(5)]
    np.testing.assert_allclose(rates, steps["lr"], rtol=1e-6)
    np.testing.assert_allclose(losses, steps["loss"], rtol=5e-4)
    errors = {f"loss of step {i}": golden.relative_error(losses[i], steps["loss"][i]) for i in range(5)}
    for name in ("mu", "log_sigma"):
        errors[name] = golden.relative_error(jnp.stack([s[name] for s in starts]), steps[f"after_each/slots_{name}"])
    check("five steps", errors, 5e-4)


def test_attention_on_the_extract(data_dir):
    """What a clone alone can check: one image of the original's set prediction, from its 1,024 tokens to 10 slots.

    The recording holds every fourth token; those of the extract were made with its weights by slotjax's encoder, which
    agrees with those recorded to 1e-6.
    """
    recording = dict(np.load(data_dir / "golden_attention.npz"))
    params = attention_of(Weights(golden.weights(recording), "", "slot_attention/gru/kernel"))
    start = golden.initial_slots({"attention": params}, recording["noise"])
    slots, attention, history = slot_attention(params, recording["enc/feat"], start, 3, return_history=True)
    _, softmax, renormalised, updates, gru_out = iterations(params, recording["enc/feat"], start, history)
    ours = {
        "attn/softmax": softmax,
        "attn/renorm": renormalised,
        "slots/updates": updates,
        "slots/gru_out": gru_out,
        "slots/all": jnp.concatenate([start[None], jnp.swapaxes(history.slots, 0, 1)]),
    }
    errors = {name: golden.relative_error(value, recording[name]) for name, value in ours.items()}
    errors["slots/final"] = golden.relative_error(slots, recording["slots/all"][-1])
    errors["attention"] = golden.relative_error(attention.transpose(0, 2, 1), recording["attn/softmax"][-1])
    check("extract", errors, TOLERANCE)
