"""k-means beside scikit-learn's, in one run: `python benchmarks/clustering.py`.

Pixels of 128x128 pictures of sprites with noise, by colour and by colour and place, in 7 clusters, from the same
initial centres and until nothing changes; one picture, and a batch of 64. Prints medians in milliseconds, their ratio,
and the largest relative difference of the inertia.
"""

import argparse
import statistics
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.cluster import KMeans

from slotjax import kmeans
from slotjax.clustering import pixel_points
from slotjax.data.scenes import multi_dsprites

CLUSTERS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="pictures of the batch")
    parser.add_argument("--repeats", type=int, default=5, help="timings of which the median is printed")
    options = parser.parse_args()
    print(f"{'points':15} {'images':>6} {'scikit-learn':>13} {'slotjax':>9} {'ratio':>6}  inertia")
    for name, weight in (("color", 0.0), ("color and place", 1.0)):
        points = pixel_points(pictures(options.batch), weight)
        starts = points[:, :: points.shape[1] // CLUSTERS][:, :CLUSTERS]
        for count in (1, options.batch):
            row(name, points[:count], starts[:count], options.repeats)


def pictures(count: int) -> jax.Array:
    """Sprites with pixel noise [count, 128, 128, 3], so that k-means needs tens of iterations, as on photographs."""
    keys = jax.random.split(jax.random.key(0), count)
    images = jax.jit(jax.vmap(lambda key: multi_dsprites(key, resolution=(128, 128)).image))(keys)
    return images + 0.1 * jax.random.normal(jax.random.key(1), images.shape)


def row(name: str, points: jax.Array, starts: jax.Array, repeats: int) -> None:
    """Times both on the same points, turn by turn, and prints a line."""
    ours = jax.jit(partial(jax.lax.map, lambda pair: kmeans(pair[0], CLUSTERS, initial_centers=pair[1])))
    host_points, host_starts = np.asarray(points), np.asarray(starts)

    def theirs():
        settings = {"n_init": 1, "tol": 0, "max_iter": 300, "algorithm": "lloyd"}
        pairs = zip(host_points, host_starts, strict=True)
        return [KMeans(CLUSTERS, init=start, **settings).fit(image).inertia_ for image, start in pairs]

    centers, labels = jax.block_until_ready(ours((points, starts)))  # compiles
    assigned = jnp.take_along_axis(centers, labels[..., None], axis=1)
    inertia = np.asarray(((points - assigned) ** 2).sum((1, 2)))
    timings = {theirs: [], lambda: jax.block_until_ready(ours((points, starts))): []}
    for _ in range(repeats):
        for function, seconds in timings.items():
            begin = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - begin)
    reference, own = (1e3 * statistics.median(seconds) for seconds in timings.values())
    error = np.abs(inertia / np.array(theirs()) - 1).max()
    print(
        f"{name:15} {len(points):6} {reference:10.1f} ms {own:6.1f} ms {reference / own:6.1f}  {error:.1e}", flush=True
    )


if __name__ == "__main__":
    main()
