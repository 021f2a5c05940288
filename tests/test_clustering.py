"""k-means and soft k-means, on points and on images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from slotjax import kmeans, metrics, soft_kmeans
from slotjax.clustering import kmeans_plus_plus, pixel_points, responsibilities, segment_images
from slotjax.errors import UserError
from slotjax.metrics.matching import linear_assignment

jitted = jax.jit(kmeans, static_argnames=("num_clusters", "init"))


def blobs(count: int, dim: int, seed: int = 0, spread: float = 0.4):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(5, dim)) * 2 + 10
    return (centers[np.arange(count) % 5] + spread * rng.normal(size=(count, dim))).astype(np.float32)


def inertia(points, centers, labels):
    return ((points - np.asarray(centers, np.float64)[np.asarray(labels)]) ** 2).sum()


@pytest.mark.parametrize("dim", [3, 20])
def test_reaches_scikit_learns_inertia_from_the_same_centers(dim):
    for seed in range(3):
        points = blobs(200, dim, seed, spread=1.5)
        start = points[:7]
        centers, labels = jitted(points, 7, initial_centers=start)
        theirs = KMeans(7, init=start, n_init=1, tol=0, algorithm="lloyd").fit(points)
        assert labels.dtype == jnp.int32
        np.testing.assert_allclose(inertia(points, centers, labels), theirs.inertia_, rtol=1e-4)


@pytest.mark.parametrize("init", ["random", "k-means++"])
def test_is_a_fixed_point(init):
    points = blobs(200, 3)
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


@pytest.mark.parametrize(
    "places", [np.arange(5.0), np.arange(5.0) * 1e-15, 1e9 + np.arange(5.0), np.array([0, 1e-30, 2e-30, 1, 2])]
)
def test_plus_plus_draws_all_distinct_points_before_any_twice(places):
    points = np.repeat(places, 20)[:, None]
    for seed in range(10):
        assert sorted(kmeans_plus_plus(points, 5, jax.random.key(seed))[:, 0].tolist()) == places.tolist()
    assert set(kmeans_plus_plus(points, 7, jax.random.key(0))[:, 0]) == set(places)  # and then any


OFFSETS_AND_SCALES = [(1e9, 1), (-1e9, 1), (0, 1e-21), (0, 1e20), (0, 1e-200), (1e100, 1e90)]


@pytest.mark.parametrize(("offset", "scale"), OFFSETS_AND_SCALES)
def test_offset_and_scale_change_nothing(offset, scale):
    """In float64, which is shifted and scaled before it is cast; times in seconds since 1970, say."""
    points, key = blobs(90, 2, spread=0.1).astype(np.float64), jax.random.key(0)
    moved, beta = offset + scale * points, 0.5 * scale**2

    def back(centers):
        return (np.asarray(centers) - offset) / scale

    for init in ("random", "k-means++"):
        centers, labels = kmeans(moved, 5, key, init=init)
        expected, same = kmeans(points, 5, key, init=init)
        np.testing.assert_array_equal(labels, same)
        np.testing.assert_allclose(back(centers), expected, atol=1e-4)
    theirs = KMeans(5, init=points[:5], n_init=1, tol=0).fit(points)
    centers, labels = kmeans(moved, 5, initial_centers=moved[:5])
    np.testing.assert_array_equal(labels, theirs.labels_)
    np.testing.assert_allclose(back(centers), theirs.cluster_centers_, atol=1e-4)
    if 0 < beta < np.inf:
        centers, weights = soft_kmeans(moved, 5, beta=beta, num_iterations=5, initial_centers=moved[:5])
        expected, same = soft_kmeans(points, 5, beta=0.5, num_iterations=5, initial_centers=points[:5])
        np.testing.assert_allclose(back(centers), expected, atol=1e-4)
        np.testing.assert_allclose(weights, same, atol=1e-3)
        np.testing.assert_allclose(responsibilities(moved, centers, beta), weights, atol=1e-3)
    np.testing.assert_allclose(back(kmeans_plus_plus(moved, 5, key)), kmeans_plus_plus(points, 5, key), atol=1e-4)


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**60])
def test_scales_of_float32_change_no_bit(scale):
    points, key = jnp.asarray(blobs(200, 3)), jax.random.key(1)
    for init in ("random", "k-means++"):
        centers, labels = jitted(points * scale, 5, key, init=init)
        expected, same = jitted(points, 5, key, init=init)
        np.testing.assert_array_equal(centers / scale, expected)
        np.testing.assert_array_equal(labels, same)


def test_one_far_point_costs_the_others_no_digits():
    points = np.array([[0.1], [0.2], [0.9], [1e8], [-1e8]])
    centers, labels = kmeans(points, 4, initial_centers=points[[0, 2, 3, 4]])
    assert labels.tolist() == [0, 0, 1, 2, 3]
    np.testing.assert_allclose(centers[:, 0], [0.15, 0.9, 1e8, -1e8], rtol=1e-6)


@pytest.mark.parametrize(
    "kind", [np.ndarray.tolist, jnp.asarray, np.float16, np.float64, np.uint8, np.int64, np.uint64, jnp.int32]
)
def test_points_of_any_kind(kind):
    points = np.array([[1, 2], [3, 2], [200, 9], [202, 9]])
    given = points.astype(kind) if isinstance(kind, type) and kind is not jnp.int32 else kind(points)
    centers, labels = kmeans(given, 2, initial_centers=[[1, 2], [200, 9]])
    np.testing.assert_allclose(centers, [[2, 2], [201, 9]])
    assert labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("far", [1e3, 1e6, 1e30])
def test_responsibilities_far_away_are_still_shares(far):
    weights = responsibilities(jnp.array([[0.0], [1.0]]), jnp.array([[far], [2 * far]]), 1e-12)
    np.testing.assert_allclose(weights.sum(1), 1)


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
    points = np.stack([blobs(200, 3, seed) for seed in range(3)])
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


def test_no_pictures_have_no_segments():
    for method in ("kmeans", "soft_kmeans"):
        assert segment_images(jnp.zeros((0, 4, 4, 3)), 3, jax.random.key(0), method).shape == (0, 4, 4)


def test_point_that_is_not_finite_under_jit_spoils_every_center():
    points = jnp.zeros((10, 2)).at[3, 1].set(jnp.nan)
    assert np.isnan(jitted(points, 2, jax.random.key(0))[0]).all()


POINTS, KEY, IMAGES = np.zeros((10, 2)), jax.random.key(0), np.zeros((1, 4, 4, 3), np.float32)
HOLE = np.where(np.arange(20).reshape(10, 2) == 7, np.nan, 0)


def soften(points=POINTS, beta=1.0, num_iterations=1):
    return soft_kmeans(points, 3, KEY, beta=beta, num_iterations=num_iterations)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kmeans(POINTS, 3), "key=None: pass a jax.random.key"),
        (lambda: kmeans(POINTS, 3, 0), "key=0: pass one key"),
        (lambda: kmeans(POINTS, 3, jax.random.split(KEY, 2)), "key=.*: pass one key"),
        *((lambda k=k: kmeans(POINTS, k, KEY), f"num_clusters={k}: must be") for k in (0, -1, 2.5, np.nan, None, True)),
        (lambda: kmeans(POINTS, 11, KEY), "num_clusters=11: must lie between 1 and the 10 points"),
        (lambda: jax.jit(kmeans)(POINTS, 2, KEY), "num_clusters=.*name it in static_argnames"),
        (lambda: kmeans(POINTS[0], 1, KEY), r"points of shape \(2,\): expected \[n, d\]"),
        (lambda: kmeans(POINTS[:, :0], 1, KEY), r"points of shape \(10, 0\)"),
        (lambda: kmeans([[1, 2], [3]], 1, KEY), r"points=\[\[1, 2\], \[3\]\]: is no array"),
        (lambda: kmeans(HOLE, 3, KEY), r"points\[3, 1\]=nan: must be finite"),
        (lambda: kmeans(jnp.asarray(HOLE), 3, KEY), r"points\[3, 1\]=nan: must be finite"),
        (lambda: kmeans_plus_plus(HOLE, 3, KEY), r"points\[3, 1\]=nan"),
        (lambda: responsibilities(HOLE, POINTS[:3], 1.0), r"points\[3, 1\]=nan"),
        (lambda: soften(HOLE), r"points\[3, 1\]=nan"),
        (lambda: kmeans(POINTS, 3, KEY, init="best"), "init='best': choose"),
        (
            lambda: kmeans(POINTS, 3, initial_centers=POINTS[:2]),
            r"initial_centers of shape \(2, 2\): expected \(3, 2\)",
        ),
        (lambda: kmeans(POINTS, 3, initial_centers=HOLE[3:6]), r"initial_centers\[0, 1\]=nan"),
        (lambda: responsibilities(POINTS, POINTS[:, :1], 1.0), r"centers of shape \(10, 1\): expected \[k, 2\]"),
        *(
            (lambda b=b: soften(beta=b), f"beta={b}: must be a finite number above 0")
            for b in (0.0, -1, np.nan, np.inf)
        ),
        *((lambda n=n: soften(num_iterations=n), f"num_iterations={n}: must") for n in (0, -1, 2.5, 10**12)),
        (lambda: segment_images(POINTS, 3, KEY), r"images of shape \(10, 2\)"),
        (lambda: segment_images(IMAGES[0], 3, KEY), r"images of shape \(4, 4, 3\): expected \[b, h, w, c\]"),
        (
            lambda: segment_images(IMAGES.astype(np.uint8), 3, KEY),
            r"images of dtype uint8: expected floats in \[-1, 1\]",
        ),
        (lambda: segment_images(IMAGES + 255, 3, KEY), r"images with values up to 255: expected floats in \[-1, 1\]"),
        (lambda: segment_images(IMAGES * np.nan, 3, KEY), r"images\[0, 0, 0, 0\]=nan: must be finite"),
        (lambda: segment_images(IMAGES, 3, KEY, "best"), "method='best': choose"),
        (lambda: segment_images(IMAGES, 17, KEY), "num_clusters=17: must lie between 1 and the 16 points"),
        *((lambda w=w: pixel_points(IMAGES, w), f"position_weight={w}: must be") for w in (-1, np.nan, np.inf, None)),
    ],
)
def test_impossible_requests_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_in_64_bits():
    """JAX_ENABLE_X64 changes no dtype, in which loops would not trace, and no draw."""
    points, images = (
        jnp.asarray(blobs(30, 3)),
        jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 3)), jnp.float32),
    )
    segments = jnp.arange(32).reshape(2, 4, 4) % 3
    ids = {"num_true": 3, "num_pred": 3}

    def everything():
        yield kmeans(points, 3, KEY)
        yield kmeans(points, 3, KEY, init="k-means++")
        yield soft_kmeans(points, 3, KEY, beta=0.5, num_iterations=3)
        yield responsibilities(points, points[:3], 0.5), kmeans_plus_plus(points, 3, KEY)
        yield [segment_images(images, 3, KEY, m, 0.5) for m in ("kmeans", "soft_kmeans")]
        yield metrics.adjusted_rand_index(segments, segments[::-1], **ids, ignore_background=True)
        yield metrics.mean_iou(segments, segments[::-1], **ids), metrics.mean_best_overlap(segments, segments, **ids)
        yield metrics.mask_entropy(jax.nn.softmax(images, 1)), metrics.mse(images, images + 0.5)
        yield linear_assignment(images[..., 0])

    expected = jax.tree.leaves(jax.eval_shape(lambda: list(everything())))
    with jax.enable_x64(True):
        found = jax.tree.leaves(jax.eval_shape(lambda: list(everything())))
        drawn = kmeans_plus_plus(points, 3, KEY)
    assert [x.dtype for x in found] == [x.dtype for x in expected]
    np.testing.assert_array_equal(drawn, kmeans_plus_plus(points, 3, KEY))
