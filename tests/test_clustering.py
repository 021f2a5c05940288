"""k-means and soft k-means, on points and on images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from slotjax import kmeans, soft_kmeans
from slotjax.clustering import kmeans_plus_plus, pixel_points, segment_images

jitted = jax.jit(kmeans, static_argnames=("num_clusters", "init"))


def blobs(count: int, dim: int, seed: int = 0, spread: float = 0.4):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(5, dim)) * 2 + 10
    return (centers[np.arange(count) % 5] + spread * rng.normal(size=(count, dim))).astype(np.float32)


def inertia(points, centers, labels):
    return ((points - np.asarray(centers, np.float64)[np.asarray(labels)]) ** 2).sum()


@pytest.mark.parametrize("dim", [2, 3, 5, 20])
def test_reaches_scikit_learns_inertia_from_the_same_centers(dim):
    for seed in range(5):
        points = blobs(400, dim, seed, spread=1.5)
        start = points[:7]
        centers, labels = jitted(points, 7, initial_centers=start)
        theirs = KMeans(7, init=start, n_init=1, tol=0, algorithm="lloyd").fit(points)
        assert labels.dtype == jnp.int32
        np.testing.assert_allclose(inertia(points, centers, labels), theirs.inertia_, rtol=1e-4)


@pytest.mark.parametrize("init", ["random", "k-means++"])
def test_is_a_fixed_point(init):
    points = blobs(300, 3)
    centers, labels = jitted(points, 5, jax.random.key(0), init=init)
    distances = ((points[:, None] - np.asarray(centers)) ** 2).sum(-1)
    np.testing.assert_array_equal(labels, distances.argmin(1))
    for i in range(5):
        np.testing.assert_allclose(centers[i], points[np.asarray(labels) == i].mean(0), rtol=1e-4)


def test_an_empty_cluster_keeps_its_center():
    points = jnp.array([[0.0], [1.0], [10.0], [11.0]])
    centers, labels = jitted(points, 3, initial_centers=jnp.array([[0.0], [10.0], [500.0]]))
    np.testing.assert_allclose(centers, [[0.5], [10.5], [500.0]])
    np.testing.assert_array_equal(labels, [0, 0, 1, 1])


def test_equal_points_are_no_obstacle():
    for init in ("random", "k-means++"):
        centers, labels = jitted(jnp.ones((6, 2)), 3, jax.random.key(0), init=init)
        assert np.isfinite(centers).all()
        assert len(np.unique(labels)) == 1


def test_plus_plus_starts_in_every_far_cluster():
    points = blobs(200, 3, spread=0.01)
    starts = jax.vmap(lambda key: kmeans_plus_plus(points, 5, key))(jax.random.split(jax.random.key(0), 50))
    nearest = ((np.asarray(starts)[:, :, None] - points[:5]) ** 2).sum(-1).argmin(-1)
    assert np.mean([len(set(row)) == 5 for row in nearest]) > 0.95


def test_soft_responsibilities_follow_the_formula():
    points = blobs(50, 3) - 10
    start = points[:4]
    centers, weights = soft_kmeans(points, 4, beta=0.7, num_iterations=1, initial_centers=start)

    def responsibilities(centers):
        unnormalised = np.exp(-((points[:, None] - centers) ** 2).sum(-1) / 0.7)
        return unnormalised / unnormalised.sum(1, keepdims=True)

    first = responsibilities(start)
    expected = (first.T @ points) / first.sum(0)[:, None]
    np.testing.assert_allclose(centers, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weights, responsibilities(expected), atol=1e-4)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)


def test_soft_becomes_hard_as_beta_falls():
    points = blobs(200, 3)
    centers, weights = soft_kmeans(points, 5, beta=1e-3, num_iterations=50, initial_centers=points[:5])
    hard_centers, labels = jitted(points, 5, initial_centers=points[:5])
    np.testing.assert_allclose(centers, hard_centers, rtol=1e-4)
    np.testing.assert_array_equal(weights.argmax(1), labels)


def test_soft_draws_its_start():
    centers, weights = soft_kmeans(blobs(40, 2), 3, jax.random.key(0), beta=1.0, num_iterations=2)
    assert centers.shape == (3, 2) and weights.shape == (40, 3)


def test_vmap_equals_one_by_one():
    points = np.stack([blobs(100, 3, seed) for seed in range(3)])
    centers, labels = jax.jit(jax.vmap(lambda x: kmeans(x, 5, initial_centers=x[:5])))(points)
    for i, one in enumerate(points):
        alone_centers, alone = jitted(one, 5, initial_centers=one[:5])
        np.testing.assert_allclose(centers[i], alone_centers, rtol=1e-5)
        np.testing.assert_array_equal(labels[i], alone)


@pytest.mark.parametrize("method", ["kmeans", "soft_kmeans"])
def test_segments_of_flat_colors(method):
    colors = jnp.array([[-1, -1, -1], [1, -1, -1], [-1, 1, 0.5]])
    regions = jnp.repeat(jnp.arange(12) // 4, 8).reshape(1, 12, 8)
    images = jnp.concatenate([colors[regions], -colors[regions]])
    segments = jax.jit(segment_images, static_argnames=("num_clusters", "method"))(
        images, 3, jax.random.key(0), method=method
    )
    assert segments.shape == (2, 12, 8) and segments.dtype == jnp.int32
    for one in np.asarray(segments):
        pairs = set(zip(one.ravel().tolist(), np.asarray(regions).ravel().tolist(), strict=True))
        assert len(pairs) == 3  # ids may be permuted, but each belongs to one region


def test_position_tells_equal_colors_apart():
    row = segment_images(jnp.zeros((1, 1, 16, 3)), 2, jax.random.key(0), position_weight=1.0)[0, 0]
    assert row[0] != row[-1]
    assert (np.diff(row) != 0).sum() == 1  # two runs of neighbours; the middle may fall to either side


def test_points_of_an_image():
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 3, 5, 3)), jnp.float32)
    np.testing.assert_array_equal(pixel_points(images), images.reshape(2, 15, 3))
    points = pixel_points(images, 0.5).reshape(2, 3, 5, 5)
    np.testing.assert_array_equal(points[..., :3], images)
    np.testing.assert_allclose(points[0, [0, 2], [0, 4], 3:], [[-0.5, -0.5], [0.5, 0.5]])


POINTS = jnp.zeros((10, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kmeans(POINTS, 3), "key=None: pass a jax.random.key"),
        (lambda: kmeans(POINTS, 11, jax.random.key(0)), "num_clusters=11: must lie between 1 and the 10 points"),
        (lambda: kmeans(POINTS, 0, jax.random.key(0)), "num_clusters=0"),
        (lambda: kmeans(POINTS[0], 1, jax.random.key(0)), r"points of shape \(2,\): expected \[n, d\]"),
        (lambda: kmeans(POINTS, 3, jax.random.key(0), init="best"), "init='best': choose"),
        (
            lambda: kmeans(POINTS, 3, initial_centers=POINTS[:2]),
            r"initial_centers of shape \(2, 2\): expected \(3, 2\)",
        ),
        (lambda: soft_kmeans(POINTS, 3, jax.random.key(0), beta=0.0, num_iterations=1), "beta=0.0.*need beta > 0"),
        (lambda: soft_kmeans(POINTS, 3, jax.random.key(0), beta=1.0, num_iterations=0), "at least 1 iteration"),
        (lambda: segment_images(POINTS, 3, jax.random.key(0)), r"images of shape \(10, 2\)"),
        (lambda: segment_images(jnp.zeros((1, 4, 4, 3)), 3, jax.random.key(0), "best"), "method='best': choose"),
    ],
)
def test_impossible_requests_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
