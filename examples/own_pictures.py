# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Train on your own pictures
#
# A folder of pictures is all it takes. Here it is filled with sprites, so that there is something to find; set
# `PICTURES` to a folder of yours and leave the second cell out.
#
# `python examples/own_pictures.py`, or open it as a notebook.

# %%
# %pip install -q slotjax

# %%
import os
import subprocess
import sys
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import slotjax

HERE = Path(os.environ.get("SLOTJAX_FIGURES", "own_pictures"))
PICTURES = HERE / "pictures"
STEPS = int(os.environ.get("SLOTJAX_STEPS", 2_000))  # the recipe has 20,000

# %%
PICTURES.mkdir(parents=True, exist_ok=True)
draw = jax.jit(jax.vmap(lambda key: slotjax.data.scenes.sprites(key, resolution=(64, 64), max_objects=3).image))
for i, image in enumerate(np.asarray(draw(jax.random.split(jax.random.key(0), 200)))):
    Image.fromarray(np.uint8(np.round((image + 1) * 127.5))).save(PICTURES / f"{i:03d}.png")

# %% [markdown]
# ## Train
# The command that one types: `slotjax train --config folder:small --config.data.path=DIR`. Any field can be changed;
# `slotjax train --help` says how. Stopped and started again it goes on where it was.

# %%
run = HERE / "run"
short = [f"--config.train.num_steps={STEPS}", "--config.train.stages=()", f"--config.train.eval_every={STEPS}"]
command = ["slotjax.train", "--config", "folder:small", f"--config.data.path={PICTURES}", "--workdir", str(run)]
subprocess.run([sys.executable, "-m", *command, *short], check=True)

# %% [markdown]
# `report.html` in the run's folder has curves, and what every slot draws.
#
# ## Look
# A trained run is a model and its parameters, for the functions of the library.

# %%
model, params = slotjax.load(run)
names = sorted(PICTURES.glob("*"))[:4]
images = np.stack([np.asarray(Image.open(name).convert("RGB").resize(model.resolution[::-1])) for name in names])
images = images.astype(np.float32) / 127.5 - 1
out = slotjax.apply(model, params, images, jax.random.key(0))
segments = slotjax.segments(model, params, images, jax.random.key(0))
error = float(((out.reconstruction - images) ** 2).mean())
print(f"{segments.max() + 1} slots; redrawn with a mean squared error of {error:.3f}")

figure, axes = plt.subplots(3, len(names), figsize=(5, 4), layout="constrained")
for column, (image, drawn, found) in enumerate(zip(images, out.reconstruction, segments, strict=True)):
    axes[0, column].imshow((image + 1) / 2)
    axes[1, column].imshow(np.clip((drawn + 1) / 2, 0, 1))
    axes[2, column].imshow(found, cmap="tab10", vmin=0, vmax=9, interpolation="nearest")
for axis in axes.flat:
    axis.set_axis_off()
figure.savefig(HERE / "found.png", dpi=80)
print(f"drew {HERE / 'found.png'}: pictures, what is redrawn of them, and which slot each pixel belongs to")
