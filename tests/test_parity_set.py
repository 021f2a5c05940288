"""Set prediction follows the original TF2 program: predictions, loss, gradients and average precision recorded from it.

`pytest tests/test_parity_set.py -s` prints the worst relative errors.
"""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import config_of

from slotjax import build_model, convert
from slotjax.losses import sets
from slotjax.metrics.average_precision import THRESHOLDS, average_precision, precision_and_recall
from slotjax.metrics.matching import assigned, linear_assignment

TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 5e-4


@pytest.fixture(scope="module")
def recording(shared_data) -> dict:
    return dict(np.load(shared_data / "golden" / "golden_set.npz"))


@pytest.fixture(scope="module")
def run(recording):
    """(loss, (output, intermediates)) and gradients with the original's weights, images and draw."""
    model = build_model(config_of("clevr_set").model)
    params = convert.from_tf2(golden.weights(recording))

    def loss(params):
        slots = golden.initial_slots(params, recording["noise"])
        images = golden.network_input(recording["image_u8"])
        out, inner = model.apply({"params": params}, images, slots, return_history=True, capture_intermediates=True)
        return sets.matched_huber(out.predictions, recording["target"]).mean(), (out, inner["intermediates"])

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


def check(title: str, errors: dict[str, float], tolerance: float) -> None:
    worst = max(errors, key=lambda name: errors[name])
    print(f"\n{title:12} {len(errors):3} tensors, worst {errors[worst]:.1e} ({worst})", end="")
    assert errors[worst] <= tolerance, {name: error for name, error in errors.items() if error > tolerance}


def test_outputs_and_loss(run, recording):
    (loss, (out, inner)), _ = run
    encoder = inner["encoder"]
    features = jax.nn.relu(encoder["conv3"]["__call__"][0])
    tokens = {
        "enc/cnn_out": features,
        "enc/pos_out": encoder["position"]["__call__"][0],
        "enc/feat": encoder["__call__"][0].reshape(2, 32, 32, 64),
    }
    errors = {name: golden.relative_error(x[:, ::2, ::2], recording[name]) for name, x in tokens.items()}
    errors |= {
        "enc/cnn_out/last_row": golden.relative_error(features[:, -1], recording["enc/cnn_out/last_row"]),
        "enc/cnn_out/last_col": golden.relative_error(features[:, :, -1], recording["enc/cnn_out/last_col"]),
        "attn/softmax": golden.relative_error(out.attention_history.transpose(1, 0, 3, 2), recording["attn/softmax"]),
        "slots/all": golden.relative_error(jnp.swapaxes(out.slots_history, 0, 1), recording["slots/all"][1:]),
        "slots/final": golden.relative_error(out.slots, recording["slots/final"]),
        "out/predictions": golden.relative_error(out.predictions, recording["out/predictions"]),
        "loss": golden.relative_error(loss, recording["loss"]),
    }
    check("outputs", errors, TOLERANCE)
    predictions = np.asarray(out.predictions)
    ours = [average_precision(predictions, recording["target"], threshold) for threshold in THRESHOLDS]
    np.testing.assert_allclose(ours, recording["out/ap"], atol=1e-6)


def test_gradients(run, recording):
    _, gradients = run
    recorded = convert.from_tf2(golden.weights(recording, "grad", "gradsample"))
    shift = recorded["attention"]["norm_slots"].pop("bias")
    # A shift common to all slots cancels in the softmax: in theory this gradient is zero.
    assert max(jnp.abs(shift).max(), jnp.abs(gradients["attention"]["norm_slots"]["bias"]).max()) < 1e-7
    errors = {}
    for path, expected in jax.tree_util.tree_leaves_with_path(recorded):
        ours = gradients
        for entry in path:
            ours = ours[entry.key]
        ours = ours if ours.shape == expected.shape else ours[:, :, ::16, ::16]
        errors[jax.tree_util.keystr(path, simple=True, separator="/")] = golden.relative_error(ours, expected)
    check("gradients", errors, GRADIENT_TOLERANCE)


@pytest.mark.parametrize("case", ["loss", "hub1", "hub2"])
def test_matching_and_loss_alone(case, recording):
    names = {"pred": "out/predictions", "target": "target", "pairwise_cost": "loss/pairwise_cost"}
    names |= {"loss": "loss", "assignment": "loss/assignment"}
    take = (lambda name: recording[names[name]]) if case == "loss" else (lambda name: recording[f"{case}/{name}"])
    costs = sets.huber_costs(take("pred"), take("target"))
    if case != "hub2":
        np.testing.assert_allclose(costs, take("pairwise_cost"), rtol=1e-5, atol=1e-7)
    # Padding costs the same wherever it goes: only where real objects went is one answer.
    ours, recorded = np.stack(linear_assignment(costs), 1), take("assignment")
    real = take("target")[..., 18] > 0
    np.testing.assert_array_equal(ours[:, 1][real], recorded[:, 1][real])
    totals = [assigned(costs, *np.moveaxis(pairs, 1, 0)).sum(1) for pairs in (ours, recorded)]
    np.testing.assert_allclose(*totals, rtol=1e-6)
    loss, gradient = jax.value_and_grad(lambda p: sets.matched_huber(p, take("target")).mean())(
        jnp.asarray(take("pred"))
    )
    np.testing.assert_allclose(loss, take("loss"), rtol=1e-6)
    if case != "loss":
        np.testing.assert_allclose(gradient, recording[f"{case}/grad_pred"], atol=1e-7)


@pytest.mark.parametrize("case", ["ap1", "ap2"])
def test_average_precision(case, recording):
    predictions, targets = recording[f"{case}/pred"], recording[f"{case}/target"]
    for i, threshold in enumerate(recording[f"{case}/thresholds"]):
        limit = np.inf if threshold == -1 else threshold
        assert average_precision(predictions, targets, limit) == pytest.approx(recording[f"{case}/ap"][i], abs=1e-7)
        curves = precision_and_recall(predictions, targets, limit)
        np.testing.assert_allclose(curves, [recording[f"{case}/{x}"][i] for x in ("precision", "recall")], rtol=1e-6)
