"""The assignment costs what SciPy's costs, on every kind of matrix, under every transform."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from slotjax.errors import UserError
from slotjax.metrics.matching import _assign_all, assigned, linear_assignment

assign = jax.jit(linear_assignment)

KINDS = {
    "uniform": lambda rng, shape: rng.uniform(size=shape),
    "ties": lambda rng, shape: rng.integers(0, 3, shape),
    "constant": lambda rng, shape: np.full(shape, rng.normal()),
    "large and small": lambda rng, shape: rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, (shape[0], 1, 1)),
    "negative": lambda rng, shape: -rng.exponential(size=shape),
}


def scipy_costs(costs):
    return np.array([c[linear_sum_assignment(c)].sum() for c in costs.astype(np.float64)])


def check_valid(rows, columns, shape):
    size = min(shape[1:])
    assert rows.shape == columns.shape == (shape[0], size)
    assert rows.dtype == columns.dtype == jnp.int32
    assert (np.diff(rows, axis=1) > 0).all()
    assert (np.diff(np.sort(columns, axis=1), axis=1) > 0).all()
    assert rows.min() >= 0 and rows.max() < shape[1] and columns.min() >= 0 and columns.max() < shape[2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(300, 10, 10), (300, 4, 9), (300, 9, 4), (1, 64, 64)])
def test_costs_what_scipys_costs(kind, shape):
    costs = KINDS[kind](np.random.default_rng(0), shape).astype(np.float32)
    rows, columns = assign(costs)
    check_valid(rows, columns, shape)
    ours = np.take_along_axis(
        np.take_along_axis(costs, np.asarray(rows)[..., None], 1), np.asarray(columns)[..., None], 2
    )
    scale = np.maximum(np.abs(costs).max((1, 2)), 1e-6)
    np.testing.assert_allclose(ours.sum((1, 2)) / scale, scipy_costs(costs) / scale, atol=1e-5)


def test_forbidden_pairs_are_avoided():
    rng = np.random.default_rng(2)
    costs = rng.uniform(size=(300, 10, 10)).astype(np.float32)
    costs[rng.uniform(size=costs.shape) < 0.4] = np.inf
    costs[:, range(10), rng.permutation(10)] = 0.7  # so that a complete assignment exists
    chosen = assigned(costs, *assign(costs)).sum(1)
    np.testing.assert_allclose(chosen, scipy_costs(costs), rtol=1e-5)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_cannot_be_assigned_ends_all_the_same(value):
    costs = np.array([[[1, 2, 3], [4, 5, 7], [value] * 3], [[value] * 3] * 3], np.float32)
    rows, columns = assign(costs)
    check_valid(rows, columns, costs.shape)
    assert np.isfinite(assigned(costs, rows, columns)).sum(1).tolist() == [2, 0]


@pytest.mark.parametrize("shape", [(2, 0, 3), (2, 3, 0), (0, 3, 4), (2, 0, 4, 3)])
def test_nothing_to_assign(shape):
    rows, columns = linear_assignment(jnp.zeros(shape))
    assert rows.shape == columns.shape == (*shape[:-2], min(shape[-2:]))


@pytest.mark.parametrize(
    ("costs", "columns"),
    [
        ([[3, 1], [1, 3]], [1, 0]),
        (np.array([[3, 1], [1, 3]], np.uint8), [1, 0]),
        (np.eye(2) > 0, [1, 0]),
        (jnp.array([[3, 1], [1, 3]], jnp.bfloat16), [1, 0]),
        (1e9 + np.array([[0.3, 0.1], [0.1, 0.3]]), [1, 0]),  # whose difference float32 does not see
        (1e300 * np.array([[3.0, 1], [1, 3]]), [1, 0]),
        (2**40 + np.array([[3, 1], [1, 3]]), [1, 0]),
    ],
)
def test_costs_of_any_kind_offset_and_scale(costs, columns):
    assert linear_assignment(costs)[1].tolist() == columns


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        (np.zeros(3), r"costs of shape \(3,\): expected \[..., n, m\].*costs\[None\]"),
        ([[1, 2], [3]], "costs=.*: is no array of numbers"),
        (np.array([["a"]]), "costs of dtype <U1: expected real numbers"),
        (np.ones((2, 2)) * 1j, "costs of dtype complex128"),
    ],
)
def test_impossible_costs_are_named(costs, message):
    with pytest.raises(UserError, match=message):
        linear_assignment(costs)


def test_compiles_once_outside_jit():
    costs = np.random.default_rng(5).uniform(size=(2, 5, 5)).astype(np.float32)
    linear_assignment(costs)
    before = _assign_all._cache_size()
    linear_assignment(costs + 1)
    assert _assign_all._cache_size() == before


def test_vmap_pmap_and_leading_axes_agree():
    costs = np.random.default_rng(3).uniform(size=(4, 3, 5, 6)).astype(np.float32)
    expected = assign(costs)
    for transformed in (jax.jit(jax.vmap(linear_assignment)), jax.pmap(linear_assignment)):
        jax.tree.map(np.testing.assert_array_equal, transformed(costs), expected)


def test_gradients_flow_through_the_costs_chosen():
    costs = jnp.array([[1.0, 5.0], [2.0, 2.5]])
    gradient = jax.grad(lambda costs: assigned(costs, *linear_assignment(costs)).sum())(costs)
    np.testing.assert_array_equal(gradient, [[1, 0], [0, 1]])


def test_lowers_for_accelerators():
    shape = jax.ShapeDtypeStruct((4, 10, 10), jnp.float32)
    exported = jax.export.export(assign, platforms=("cuda", "tpu"))(shape)
    assert "callback" not in exported.mlir_module()


@pytest.mark.slow
def test_ten_thousand_matrices_of_every_kind():
    """Square and rectangular, up to 64 x 64; every kind, each with and without forbidden pairs."""
    rng, count = np.random.default_rng(4), 0
    shapes = [(700, 10, 10), (200, 10, 14), (200, 14, 10), (20, 64, 64), (20, 33, 64), (60, 1, 5), (60, 7, 1)]
    for shape, (kind, make), forbid in itertools.product(shapes, KINDS.items(), (False, True)):
        costs = make(rng, shape).astype(np.float32)
        if forbid:
            allowed = np.stack([np.eye(*shape[1:], dtype=bool)[rng.permutation(shape[1])] for _ in range(shape[0])])
            costs[(rng.uniform(size=shape) < 0.4) & ~allowed] = np.inf
        chosen = assigned(costs, *assign(costs)).sum(1)
        # Where a forbidden pair cannot be avoided SciPy raises; there is nothing to compare.
        scale = np.maximum(np.where(np.isfinite(costs), np.abs(costs), 0).max((1, 2)), 1e-6)
        possible = np.isfinite(chosen)
        np.testing.assert_allclose(
            chosen[possible] / scale[possible], scipy_costs(costs[possible]) / scale[possible], atol=2e-5, err_msg=kind
        )
        for c in costs[~possible]:
            with pytest.raises(ValueError, match="infeasible"):
                linear_sum_assignment(c)
        count += shape[0]
    assert count > 10_000
