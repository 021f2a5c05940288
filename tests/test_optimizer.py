"""Updates: of parameters as one vector, with decay and rates by part, and none of what is frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import config_of, images_of

from slotjax import build_model, init
from slotjax.config.schema import defaults
from slotjax.training.muon import BETA, SIZE, orthogonal
from slotjax.training.optimizer import build_optimizer, kernels, scale_by_adam
from slotjax.training.parallel import Parallel
from slotjax.training.restore import saved
from slotjax.training.state import create_state
from slotjax.training.step import Step
from slotjax.training.vector import Layout


def parameters(seed: int = 0):
    rng = np.random.default_rng(seed)
    shapes = {"dense": {"bias": (3,), "kernel": (2, 3)}, "scale": ()}
    return jax.tree.map(lambda shape: rng.normal(size=shape).astype(np.float32), shapes, is_leaf=is_shape)


def is_shape(x):
    return isinstance(x, tuple)


@pytest.fixture
def layout():
    return Layout(parameters())


def assert_equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("numpy", [np, jnp])
def test_a_vector_is_the_leaves_one_after_another(layout, numpy):
    params = jax.tree.map(numpy.asarray, parameters())
    vector = layout.vector(params)
    assert isinstance(vector, np.ndarray) == (numpy is np) and vector.shape == (layout.size,) == (10,)
    np.testing.assert_array_equal(vector[:3], params["dense"]["bias"])
    np.testing.assert_array_equal(vector[3:9].reshape(2, 3), params["dense"]["kernel"])
    assert_equal(layout.params(vector), params)


def test_a_layout_needs_only_shapes():
    shapes = Layout(jax.eval_shape(lambda: jax.tree.map(jnp.asarray, parameters())))
    assert_equal(shapes.params(shapes.vector(parameters())), parameters())


@pytest.mark.parametrize("ema", [False, True])
def test_a_state_comes_back_as_it_was(layout, ema):
    state = jax.device_get(create_state(parameters(), optax.adam(1e-3), ema=ema))
    packed = layout.pack(state)
    assert sorted(x.shape for x in jax.tree.leaves(packed)) == [()] * 2 + [(10,)] * (4 if ema else 3)
    assert_equal(layout.unpack(packed), state)


def test_an_update_of_vectors_is_that_of_the_arrays(layout):
    """Clipping included, which sees the norm of everything."""
    optimizer = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(1e-2))
    params, gradients = parameters(0), parameters(1)
    update = jax.jit(optimizer.update)
    theirs, _ = update(gradients, optimizer.init(params))
    ours, _ = update(layout.vector(gradients), layout.pack(jax.device_get(optimizer.init(params))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), layout.params(np.asarray(ours)), theirs)


def train_fields(**fields):
    config = defaults().train
    config.update(warmup_steps=0, schedule="constant", learning_rate=0.1, **fields)
    return config


def updated(config, params, layout=None):
    """The parameters after one update whose gradient is zero."""
    optimizer = build_optimizer(config, layout)
    start = layout.vector(params) if layout else params

    @jax.jit
    def step(start):
        updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, start), optimizer.init(start), start)
        return optax.apply_updates(start, updates)

    end = step(start)
    return layout.params(np.asarray(end)) if layout else end


@pytest.fixture(scope="module")
def params():
    model = build_model(config_of("clevr:small,tiny").model)
    drawn = init(model, jax.random.key(0), images_of(model))
    return jax.tree.map(lambda x: np.asarray(x) + np.float32(0.5), drawn)


@pytest.mark.parametrize("packed", [False, True])
def test_weight_decay_leaves_biases_norms_and_starts_alone(params, packed):
    after = updated(train_fields(weight_decay=0.5), params, Layout(params) if packed else None)
    shrunk = jax.tree.map(lambda a, b: float(np.max(np.abs(a - 0.95 * b))) < 1e-6, after, params)
    kept = jax.tree.map(lambda a, b: bool((np.asarray(a) == b).all()), after, params)
    assert shrunk == kernels(params) and kept == jax.tree.map(lambda x: not x, kernels(params))
    assert kernels(params)["attention"]["project_q"] and kernels(params)["attention"]["gru"]["input_kernel"]
    alone = [kernels(params)["attention"][name] for name in ("initializer", "norm_slots", "norm_mlp")]
    alone += [kernels(params)["encoder"][name] for name in ("norm",)] + [kernels(params)["decoder"]["position"]["norm"]]
    assert not any(jax.tree.leaves(alone))


@pytest.mark.parametrize("packed", [False, True])
def test_rates_differ_by_part(params, packed):
    config = train_fields(learning_rates={"encoder": 0.0, "decoder": 0.1, "attention": 1.0})
    optimizer, layout = build_optimizer(config, layout := Layout(params) if packed else None), layout
    start = layout.vector(params) if packed else params
    ones = jax.tree.map(jnp.ones_like, start)
    updates = jax.jit(lambda start: optimizer.update(ones, optimizer.init(start), start)[0])(start)
    updates = layout.params(np.asarray(updates)) if packed else updates
    for part, size in (("encoder", 0.0), ("decoder", 0.01), ("attention", 0.1)):
        for update in jax.tree.leaves(updates[part]):
            np.testing.assert_allclose(update, -size, rtol=1e-5)


def of_steps(optimizer, gradients, layout=None):
    """The last update of several."""
    pack, unpack = (layout.vector, layout.params) if layout else (lambda x: x, lambda x: x)
    state = optimizer.init(pack(gradients[0]))
    for gradient in gradients:
        update, state = jax.jit(optimizer.update)(pack(gradient), state)
    return unpack(np.asarray(update) if layout else update)


@pytest.mark.parametrize("packed", [False, True])
def test_muon_is_optax_s_for_kernels_and_adam_for_all_else(params, packed):
    rng = np.random.default_rng(0)
    gradients = [jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params) for _ in range(3)]
    layout = Layout(params) if packed else None
    ours = of_steps(build_optimizer(train_fields(optimizer="muon"), layout), gradients, layout)
    adam = of_steps(scale_by_adam(BETA, 0.999, 1e-8), gradients)
    for (path, update), of_adam, kernel, *several in zip(
        jax.tree.leaves_with_path(ours), *map(jax.tree.leaves, (adam, kernels(params), *gradients)), strict=True
    ):
        if kernel:
            flat = [gradient.reshape(-1, gradient.shape[-1]) for gradient in several]
            theirs = of_steps(optax.contrib.scale_by_muon(beta=BETA), flat) * SIZE * max(flat[0].shape) ** 0.5
        else:
            theirs = of_adam
        np.testing.assert_allclose(update, -0.1 * theirs.reshape(update.shape), rtol=1e-3, atol=1e-5, err_msg=str(path))


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (64, 4608), (3, 3)])
def test_an_orthogonal_factor_has_the_singular_vectors_and_hardly_their_values(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 1e-6
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    found = np.diag(left.T @ orthogonal(matrix) @ right.T)
    assert found.min() > 0.6 and found.max() < 1.3
    np.testing.assert_allclose(orthogonal(matrix), left * found @ right, atol=1e-4)


def test_what_is_frozen_is_neither_updated_nor_averaged_nor_saved():
    params = {"backbone": {"kernel": jnp.full((2,), 3.0)}, "head": {"kernel": jnp.ones((2,))}}
    optimizer = optax.sgd(0.1)
    state = create_state(params, optimizer, ema=True, frozen=("backbone",))
    assert list(state.params) == list(state.ema) == ["head"]

    def objective(params, batch, keys, step):
        value = (params["backbone"]["kernel"] * params["head"]["kernel"]).sum() * batch["index"].mean()
        return value, {"loss": value}

    step = Step(objective, optimizer, jax.random.key(0), ema_decay=0.5)
    train = Parallel("jit", 2, jax.devices()[:1]).over_batch(step.train)
    after, _ = train(state, {"index": jnp.ones(2, jnp.int32)})
    np.testing.assert_allclose(after.params["head"]["kernel"], 1 - 0.1 * 3)
    np.testing.assert_array_equal(after.frozen["backbone"]["kernel"], 3.0)
    np.testing.assert_allclose(after.best_params["head"]["kernel"], 1 - 0.05 * 3)
    assert set(after.best_params) == {"backbone", "head"}
    assert saved(after).frozen == {}
