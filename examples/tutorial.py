# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # From k-means to Slot Attention
#
# Ways to split the same picture into groups of pixels, each a small change of the one before: **k-means** puts every
# pixel into the nearest cluster; **soft k-means** lets clusters share a pixel; **Slot Attention** (Locatello et al.,
# 2020) learns what "near" means, and draws what each cluster, a slot, stands for; with **responsibilities** these
# drawings are the centres of soft k-means again. Then we take the slots apart: remove one, add one, swap two.
#
# The trained model comes with the library, so everything here runs in a minute on a laptop:
# `python examples/tutorial.py`, or as a notebook: `jupytext --to ipynb examples/tutorial.py`.

# %%
# %pip install -q slotjax

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import slotjax
from slotjax.data.scenes import sprites
from slotjax.drawing.slots import colour_segments, matching_colours, slot_panel, to_uint8
from slotjax.metrics import adjusted_rand_index

FIGURES = Path(os.environ.get("SLOTJAX_FIGURES", "figures"))  # where the pictures go
FIGURES.mkdir(parents=True, exist_ok=True)
print(f"Figures go to {FIGURES}; most of the time is compiling.")


def show(name, rows, titles, side=1.3):
    """Draws rows of pictures, the first row under `titles`; keeps the figure as NAME.png and returns it."""
    columns, lines = max(map(len, rows)), 1 + max(title.count("\n") for title in titles)
    size = side * columns, side * len(rows) + 0.2 * lines
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            gray = {"cmap": "gray", "vmin": 0, "vmax": 1} if picture.ndim == 2 else {}
            axes[i, j].imshow(picture, interpolation="nearest", **gray)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=8)
    figure.savefig(FIGURES / f"{name}.png", dpi=110)
    plt.close(figure)
    print(f"drew {name}.png")
    return figure  # a notebook shows a cell's last value


def ids(segments):
    """Segments [h, w], each in the colour of the true object that it has most in common with."""
    segments = np.asarray(segments)
    return matching_colours(segments, NUM_SLOTS, np.asarray(scene.segments))[segments]


def fg_ari(scene, segments, count):
    """Agreement of a segmentation with the true objects: 1 is perfect, 0 is chance."""
    sizes = {"num_true": scene.objects["present"].shape[0] + 1, "num_pred": count, "ignore_background": True}
    return float(adjusted_rand_index(scene.segments[None], jnp.asarray(segments)[None], **sizes)[0])


# %% [markdown]
# ## A picture
# Sprites in two colours each, a rim and a core, on black. Both colours come from the same four, so that colour alone
# does not say what belongs together.

# %%
model, params = slotjax.load("quick")
NUM_SLOTS = model.attention.num_slots
scene = sprites(jax.random.key(5), min_objects=4, max_objects=4, resolution=model.resolution)
picture = to_uint8(np.asarray(scene.image))
height, width = scene.segments.shape

# %% [markdown]
# ## k-means
# Assign every pixel to the nearest centre, move each centre to the mean of its pixels, repeat until nothing changes.
# First on colours, then on colours and positions.

# %%
rows, columns = jnp.meshgrid(jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width), indexing="ij")
colors = scene.image.reshape(-1, 3)
points = jnp.concatenate([colors, 2 * jnp.stack([rows, columns], -1).reshape(-1, 2)], axis=-1)

_, by_color = slotjax.kmeans(colors, NUM_SLOTS, jax.random.key(0), init="k-means++")
_, by_both = slotjax.kmeans(points, NUM_SLOTS, jax.random.key(0), init="k-means++")
found = {
    "k-means, colour": by_color.reshape(height, width),
    "k-means, colour + place": by_both.reshape(height, width),
}
titles = ["picture", "truth"] + [f"{name}\nFG-ARI {fg_ari(scene, x, NUM_SLOTS):.2f}" for name, x in found.items()]
truth = colour_segments(np.asarray(scene.segments), background=True)
show("kmeans", [[picture, truth, *map(ids, found.values())]], titles, side=1.8)

# %% [markdown]
# Colour alone puts one sprite's rim with another's core. Place alone cuts the black into blocks, and sprites with it.
#
# ## Soft k-means
# Every pixel is now shared: it belongs to cluster $i$ in proportion to $\exp(-|x - \mu_i|^2 / \beta)$, normalised
# **over the clusters**, and each centre is the weighted mean of all pixels. Small $\beta$ is k-means again; large
# $\beta$ makes all clusters the same.

# %%
start, _ = slotjax.kmeans(points, NUM_SLOTS, jax.random.key(0), init="k-means++")
shares = {
    beta: slotjax.soft_kmeans(points, NUM_SLOTS, beta=beta, num_iterations=20, initial_centers=start)[1]
    for beta in (0.1, 0.5, 2.0)
}
panels = [[np.asarray(share[:, i]).reshape(height, width) for i in range(NUM_SLOTS)] for share in shares.values()]
show("soft_kmeans", panels, [f"cluster {i + 1}" for i in range(NUM_SLOTS)])

# %% [markdown]
# Rows: $\beta$ = 0.1, 0.5, 2.
#
# ## Slot Attention
# The same loop with learned parts. Pixels become *tokens* by a CNN, centres become *slots*; the distance becomes a dot
# product of a learned query and a learned key; the mean is taken over learned values; and instead of being replaced, a
# slot is updated by a GRU and a small MLP. Where slots start is learned too: one start for each slot, or, as in the
# paper, one Gaussian from which all are drawn. It is trained only to redraw the picture: every slot draws a picture of
# its own and a mask, which says where it counts; masks sum to one over the slots.

# %%
images, key = scene.image[None], jax.random.key(1)
apply = jax.jit(slotjax.apply, static_argnames=("model", "num_slots", "num_iterations", "return_history"))
out = apply(model, params, images, key, num_iterations=3, return_history=True)
masks = np.asarray(out.masks[0])
score = fg_ari(scene, masks.argmax(0), NUM_SLOTS)
panels = [slot_panel(*slot) for slot in zip(np.asarray(out.components[0]), masks, strict=True)]
redrawn = to_uint8(np.asarray(out.reconstruction[0]))
slot_titles = [f"slot {i + 1}" for i in range(NUM_SLOTS)]
show("slots", [[picture, redrawn, ids(masks.argmax(0)), *panels]], ["picture", "redrawn", "masks", *slot_titles])
print(f"FG-ARI of the masks: {score:.2f}")

# %% [markdown]
# ## Responsibilities
# The masks of a small model are soft at an object's rim, but its pictures are sharper than they. So ask once more what
# soft k-means asks, which cluster made this pixel $x$, with what slot $k$ draws there, $\mu_k$, as its centre, and the
# mask $m_k$ as the share that it has beforehand: in proportion to $m_k \exp(-|x - \mu_k|^2 / 2 \sigma^2)$, normalised
# over the slots. With $\beta = 2 \sigma^2$ this is the formula above; it is the E-step of a mixture of Gaussians, by
# which Neural Expectation Maximization (Greff et al., 2017) segments.

# %%
likely = np.asarray(slotjax.responsibilities(out, images, sigma=0.3)[0])
posterior_score = fg_ari(scene, likely.argmax(0), NUM_SLOTS)
rows = [[ids(each.argmax(0)), *each] for each in (masks, likely)]
show("responsibilities", rows, ["segments", *slot_titles])
print(f"FG-ARI of the responsibilities: {posterior_score:.2f}")

# %% [markdown]
# Above the masks, below the responsibilities.
#
# ## Competition, iteration by iteration
# The softmax over slots lets only one win a token for good: whatever slot is slightly ahead gets the token's value, and
# is further ahead the next time.


# %%
def attention_maps(attention):
    """[k, n] to k pictures."""
    side = int(attention.shape[-1] ** 0.5)
    return list(np.asarray(attention).reshape(-1, side, side))


show("iterations", [attention_maps(step) for step in out.attention_history[0]], slot_titles)

# %% [markdown]
# ## Softmax over slots, softmax over inputs
# Ordinary attention normalises over the *inputs*: every slot looks where it likes, and nothing keeps two from looking
# at the same. With the same weights and the same start, competition is gone.

# %%
tokens = slotjax.encode(model, params, images)
start = model.attention.initializer.apply({"params": params["attention"]["initializer"]}, key[None], NUM_SLOTS)
rows = []
for normalize in ("slots", "inputs"):
    _, attention = slotjax.slot_attention(params["attention"], tokens, start, normalize=normalize)
    maps = attention_maps(attention[0])
    rows.append([map_ / max(map_.max(), 1e-6) for map_ in maps])
show("normalization", rows, slot_titles)

# %% [markdown]
# Above over slots, below over inputs (each map scaled to its own maximum).
#
# ## A slot removed, a slot added, two slots swapped
# `decode` draws any set of slots. Leave one out, and its object is gone; take one of another scene, and its object
# appears, at its own place.

# %%
other = sprites(jax.random.key(21), min_objects=3, max_objects=3, resolution=model.resolution)
pair = jnp.stack([scene.image, other.image])
slots = apply(model, params, pair, key).slots
masks = slotjax.decode(model, params, slots).masks


def object_slot(index, which):
    """The slot that claims most of one object."""
    inside = (scene.segments, other.segments)[index] == which
    return int((masks[index] * inside).sum((1, 2)).argmax())


def redraw(chosen):
    """The picture that these slots [k, d] make."""
    return to_uint8(np.asarray(slotjax.decode(model, params, chosen[None]).reconstruction[0]))


ours, theirs = object_slot(0, 1), object_slot(1, 1)
removed = jnp.delete(slots[0], ours, axis=0)
added = jnp.concatenate([slots[0], slots[1, theirs][None]])
swapped = [slots[0].at[ours].set(slots[1, theirs]), slots[1].at[theirs].set(slots[0, ours])]
titles = ["picture", "redrawn", "one slot removed", "one added", "swapped"]
first = [picture, redraw(slots[0]), redraw(removed), redraw(added), redraw(swapped[0])]
second = [to_uint8(np.asarray(other.image)), redraw(slots[1]), redraw(jnp.delete(slots[1], theirs, axis=0))]
second += [redraw(jnp.concatenate([slots[1], slots[0, ours][None]])), redraw(swapped[1])]
show("editing", [first, second], titles, side=1.6)
