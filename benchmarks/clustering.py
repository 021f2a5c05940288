"""k-means beside scikit-learn's, in one run: `python benchmarks/clustering.py`.

Pixels of 128x128 pictures of sprites with noise, by colour and by colour and place, in 7 clusters, from the same
initial centres and until nothing changes; one picture, and a batch of 64. Prints medians, their ratio, and the largest
relative difference of the inertia.
"""

import argparse
import statistics
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.cluster import KMeans
from tables import table
from timing import at_least, clocked, in_turns, machine, ratio

from slotjax import cli, kmeans
from slotjax.clustering import pixel_points
from slotjax.data.scenes import multi_dsprites

CLUSTERS = 7


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="pictures of the batch")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    at_least(options, 1, ["batch", "rounds"])
    rows = []
    for name, weight in (("colour", 0.0), ("colour and place", 1.0)):
        points = pixel_points(pictures(options.batch), weight)
        starts = points[:, :: points.shape[1] // CLUSTERS][:, :CLUSTERS]
        for count in sorted({1, options.batch}):
            rows.append([name, str(count), *compared(points[:count], starts[:count], options.rounds)])
    print(f"{machine()}; medians of {options.rounds}\n")
    print(table(["points", "images", "scikit-learn", "slotjax", "ratio", "inertia differs by"], rows))


def pictures(count: int) -> jax.Array:
    """Sprites with pixel noise [count, 128, 128, 3], so that k-means needs tens of iterations, as on photographs."""
    keys = jax.random.split(jax.random.key(0), count)
    images = jax.jit(jax.vmap(lambda key: multi_dsprites(key, resolution=(128, 128)).image))(keys)
    return images + 0.1 * jax.random.normal(jax.random.key(1), images.shape)


def compared(points: jax.Array, starts: jax.Array, rounds: int) -> list[str]:
    """Both on the same points, turn by turn: medians, their ratio, and how far the inertias are apart."""
    ours = jax.jit(partial(jax.lax.map, lambda pair: kmeans(pair[0], CLUSTERS, initial_centers=pair[1])))
    host_points, host_starts = np.asarray(points), np.asarray(starts)

    def theirs():
        settings = {"n_init": 1, "tol": 0, "max_iter": 300, "algorithm": "lloyd"}
        pairs = zip(host_points, host_starts, strict=True)
        return [KMeans(CLUSTERS, init=start, **settings).fit(image).inertia_ for image, start in pairs]

    centers, labels = ours((points, starts))
    inertia = ((points - jnp.take_along_axis(centers, labels[..., None], axis=1)) ** 2).sum((1, 2))
    error = np.abs(np.asarray(inertia) / np.array(theirs()) - 1).max()
    taken = in_turns({"theirs": clocked(theirs), "ours": clocked(lambda: ours((points, starts)))}, rounds)
    medians = [f"{1e3 * statistics.median(seconds):.1f} ms" for seconds in taken.values()]
    return [*medians, f"{ratio(taken['theirs'], taken['ours']):.1f}", f"{error:.1e}"]


if __name__ == "__main__":
    cli.run(main)
