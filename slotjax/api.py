"""Models as pure functions: `init`, `apply`, `encode`, `decode`, and the segments they find.

Every one can be jitted (`apply` with `static_argnames=slotjax.STATIC`, the others with the model static), vmapped,
pmapped and differentiated; bind keywords with `functools.partial` under vmap and pmap.
"""

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from slotjax.data.pictures import load_picture
from slotjax.errors import UserError, shown
from slotjax.models import Model, Output
from slotjax.nn.fields import Count, check
from slotjax.system import arguments
from slotjax.system.paths import given

Params = Any
STATIC = ("model", "num_slots", "num_iterations", "return_history")  # arguments of `apply` that jit must not trace
SIGMA = 0.3  # of `responsibilities`, in units of images in [-1, 1]: docs/results.md has the curve over it
FAINTEST = 1e-30  # of a mask: its logarithm stays finite
UNLIKELY = 2.0  # beyond this a picture's values are taken for bytes


def init(model: Model, key: jax.Array, images: jax.Array) -> Params:
    """Parameters of `model`, drawn with `key`, for images of this shape [b, h, w, 3] (only the shape matters), or of a
    video's [b, t, h, w, 3].

    Those of a pretrained backbone come from its file.
    """
    arguments.key("key", key)
    _check_images(model, images)
    shape = (1, *jnp.shape(images)[1:])

    def draw(key):
        keys = dict(zip(("params", "slots"), jax.random.split(key), strict=True))
        return model.init(keys, jnp.zeros(shape, jnp.float32))["params"]

    if isinstance(key, Tracer):
        return draw(key) | model.pretrained()
    # Jitted, so that only what makes parameters is ever run; without LLVM's optimizations, which on CPU take seconds
    # for every random draw and gain nothing in a program that runs once.
    drawn = jax.jit(draw, compiler_options={"xla_backend_optimization_level": 0})(key)
    return drawn | jax.tree.map(jnp.asarray, model.pretrained())


def apply(
    model: Model,
    params: Params,
    images: jax.Array,
    key: jax.Array | None = None,
    *,
    num_slots: int | None = None,
    num_iterations: int | None = None,
    initial_slots: jax.Array | None = None,
    cues: Mapping[str, jax.Array] | None = None,
    return_history: bool = False,
) -> Output:
    """Splits images, or videos, into slots.

    Args:
      images: [b, h, w, 3] in [-1, 1], at the model's resolution; where it takes videos [b, t, h, w, 3].
      key: draws the initial slots: one `jax.random.key`, or one for each image [b].
      num_slots, num_iterations: instead of the numbers used in training, at least 1.
      initial_slots: [b, k, d], instead of the draw; another picture's `Output.slots`, say. Of a video those of the
        frame before its first: `out.slots[:, -1]` goes on where another call ended.
      cues: videos: what is known of the first frame, where the model starts its slots from that: {"boxes": [b, m, 4]}
        (ymin, xmin, ymax, xmax in 0..1; rows of -1 are no object) or {"centers": [b, m, 2]}. {"slots": [b, k, d]} are
        the slots themselves, any number, with which the first frame's attention begins.
      return_history: pictures: also return the slots and the attention of every iteration.

    Returns:
      `Output`; for object discovery slots, attention, masks, components and reconstruction, each with an axis of time
      behind that of the batch where the model takes videos.

    Raises:
      UserError (a ValueError): no key, initial_slots or cues; disagreeing num_slots; more slots than a per-slot
        initialiser has; images of another shape, type or range; cues that the model does not take.
    """
    images = _check_images(model, images)
    for name, value in (("num_slots", num_slots), ("num_iterations", num_iterations)):
        if value is not None:
            check(name, Count, value)
    if initial_slots is None:
        cues = model.check_cues(cues, images.shape[0], num_slots or model.attention.num_slots)
    elif cues is not None:
        raise UserError("cues: the slots start from initial_slots; give one of the two")
    if key is None and initial_slots is None and cues is None:
        raise UserError("key=None: pass a jax.random.key to draw the initial slots, or initial_slots [b, k, d]")
    if isinstance(key, int | np.integer):
        raise UserError(f"key={key}: pass a key, jax.random.key({key})")
    if initial_slots is not None:
        initial_slots = arguments.array("initial_slots", initial_slots)
        _check_slots(initial_slots, images.shape[:1], model.attention.slot_dim, model.decoded_dim)
    for name, start in (("initial_slots", initial_slots), ("cues['slots']", (cues or {}).get("slots"))):
        if start is not None and num_slots not in (None, start.shape[1]):
            raise UserError(f"num_slots={num_slots}: {name} holds {start.shape[1]}; leave num_slots out")
    options = {"num_slots": num_slots, "num_iterations": num_iterations, "return_history": return_history}
    if cues is not None:
        options["cues"] = cues
    return _run(model, params, images, initial_slots, key=key, **options)


def load_image(path: str | Path, model: Model, *, crop: bool = False) -> jax.Array:
    """A picture from a file as `apply` takes it: float32 [1, h, w, 3] in [-1, 1], at the model's resolution.

    Args:
      path: PNG, JPEG, WebP, ... of any size; it is turned as a camera says, and transparency is white.
      crop: take the largest part in the middle that has the model's proportions, instead of squashing the whole.

    Raises:
      UserError: the file is missing, no picture, or damaged.
    """
    return jnp.asarray(load_picture(given(path, "path"), _picture(model)[:2], crop))[None]


def encode(model: Model, params: Params, images: jax.Array) -> jax.Array:
    """images [b, h, w, 3] in [-1, 1] -> tokens [b, n, d], what the slots compete for; of a video [b, t, n, d]."""
    return _run(model, params, _check_images(model, images), method="encode")


def features(backbone: Any, weights: Params, images: jax.Array) -> jax.Array:
    """What a pretrained backbone makes of pictures: its patch tokens after the last norm, row by row.

    Args:
      backbone, weights: of `slotjax.load_backbone`, or any module of the protocol `slotjax.nn.backbones.Backbone`.
      images: [b, h, w, 3] in [-1, 1], of any multiples of the patch; the backbone's own mean and spread are applied to
        them inside.

    Returns:
      float32 [b, n, d].

    Raises:
      UserError: images of another shape, type or range, or no multiples of the patch.
    """
    images = arguments.array("images", images)
    if images.ndim != 4 or images.shape[3] != 3:
        raise UserError(f"images of shape {shown(images.shape)}: expected [b, h, w, 3]; a single one is image[None]")
    images = _check_type(images)
    rows, columns = backbone.grid(images.shape[1:3])
    found = backbone.apply({"params": weights}, images)
    return found.reshape(images.shape[0], rows * columns, found.shape[-1])


def decode(model: Model, params: Params, slots: jax.Array) -> Output:
    """slots [b, k, d], or [b, t, k, d] of a video, as `apply` returns them -> components, masks and reconstruction
    (set prediction: predictions).

    Where the decoder draws in each slot's own frame, d includes the numbers of the frame; see `Output`.

    Raises:
      UserError: slots of another shape.
    """
    slots = arguments.array("slots", slots)
    batch = slots.shape[:-2] if slots.ndim == _rank(model) - 1 else slots.shape[:1]
    _check_slots(slots, batch, model.decoded_dim)
    return _run(model, params, slots, method="decode")


def responsibilities(out: Output, images: jax.Array, *, sigma: float = SIGMA) -> jax.Array:
    """How likely each slot is to have drawn each pixel: the E-step of a Gaussian mixture whose means the slots draw.

    softmax over k of log masks_k - |image - components_k|^2 / (2 sigma^2): with equal masks and beta = 2 sigma^2 the
    assignments of soft k-means (`slotjax.soft_kmeans`), and what Neural Expectation Maximization segments by (Greff et
    al., 2017, sec. 2.1). The masks of a small model are soft at an object's rim; the pictures are not.

    Args:
      out: of `apply` on these images; what counts are `masks` [*b, k, h, w] and `components` [*b, k, h, w, c].
      images: [*b, h', w', c] in [-1, 1]. They may be larger than what the slots draw: components and log masks are
        then resized bilinearly to theirs. Where the slots draw features, `target` [*b, h, w, d] counts in their place,
        and what is resized is what the softmax is of.
      sigma: the spread of a pixel about its mean, in units of the images, or of three channels of features together.
        Towards infinity the masks decide alone.

    Returns:
      float32 [*b, k, h', w'], sums to 1 over k.

    Raises:
      UserError: a model that draws nothing, images of another batch, or a sigma that is not above 0.
    """
    masks, components = out.need("masks", "components")
    if not isinstance(sigma, Tracer) and not sigma > 0:
        raise UserError(f"sigma={sigma}: must be above 0; {SIGMA} is usual")
    images = jnp.asarray(images, jnp.float32)
    if images.shape[:-3] != masks.shape[:-3] or (out.draws_pictures and images.shape[-1] != components.shape[-1]):
        raise UserError(
            f"images of shape {shown(images.shape)}: the slots drew {shown(components.shape)}; give the images "
            "that they were found in"
        )
    return _responsibilities(out, images, sigma)


@jax.jit  # one program where the caller has none of its own
def _responsibilities(out: Output, images: jax.Array, sigma: float | jax.Array) -> jax.Array:
    size = (images.shape[-3], images.shape[-2])
    if not out.draws_pictures:
        return jax.nn.softmax(_resized_maps(evidence(out, sigma), size), axis=-3)
    log_masks = _resized_maps(_log_masks(out), size)
    errors = ((_resized(out.need("components")[0], size) - images[..., None, :, :, :]) ** 2).sum(-1)
    return jax.nn.softmax(log_masks - errors / (2 * sigma**2), axis=-3)


def evidence(out: Output, sigma: float | jax.Array = SIGMA) -> jax.Array:
    """What the softmax in `responsibilities` is of, at the target's own size: [*b, k, h, w].

    Features have hundreds of channels, whose errors count together as three channels of a picture do.
    """
    components, target = out.need("components", "target")
    errors = 3 * ((target[..., None, :, :, :] - components) ** 2).mean(-1)
    return _log_masks(out) - errors / (2 * sigma**2)


def masks_at(out: Output, size: tuple[int, int]) -> jax.Array:
    """The decoder's masks at another size, bilinearly on their logits: [*b, k, *size], sums to 1 over k."""
    masks = out.need("masks")[0]
    if masks.shape[-2:] == tuple(size):
        return masks
    return jax.nn.softmax(_resized_maps(_log_masks(out), size), axis=-3)


def segments(
    model: Model,
    params: Params,
    images: jax.Array,
    key: jax.Array | None = None,
    *,
    sigma: float = SIGMA,
    **options: Any,
) -> jax.Array:
    """Which slot each pixel belongs to, at the images' own size: the argmax of `responsibilities`.

    Args:
      images: [b, h, w, 3] in [-1, 1] of any size, or [b, t, h, w, 3]; the model sees them resized to its resolution.
      sigma: see `responsibilities`.
      key, options: as in `apply`.

    Returns:
      int32 [b, h, w], ids in [0, k); of a video [b, t, h, w]. Where the model draws something else than pictures, flow
      say, they are those of its masks.

    Raises:
      UserError: as `apply` and `responsibilities`.
    """
    images = arguments.array("images", images)
    if images.ndim != _rank(model):
        raise UserError(f"images of shape {shown(images.shape)}: expected {_expected(model)}")
    images = _check_type(images)
    size = (images.shape[-3], images.shape[-2])
    seen = _resized(images, _picture(model)[:2], antialias=True)
    out = apply(model, params, seen, key, **options)
    shares = _resized_maps(_log_masks(out), size) if out.target is None else responsibilities(out, images, sigma=sigma)
    return shares.argmax(-3).astype(jnp.int32)


def _log_masks(out: Output) -> jax.Array:
    if out.mask_logits is not None:
        return jax.nn.log_softmax(out.mask_logits, axis=-3)
    return jnp.log(jnp.maximum(out.need("masks")[0], FAINTEST))


def _resized(pictures: jax.Array, size: tuple[int, int], antialias: bool = False) -> jax.Array:
    """[..., h, w, c] -> [..., *size, c], bilinearly."""
    if pictures.shape[-3:-1] == tuple(size):
        return pictures
    return jax.image.resize(pictures, (*pictures.shape[:-3], *size, pictures.shape[-1]), "bilinear", antialias)


def _resized_maps(maps: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[..., h, w] -> [..., *size], bilinearly."""
    return _resized(maps[..., None], size)[..., 0]


def _run(model: Any, params: Params, *arguments: Any, **options: Any) -> Any:
    return model.apply({"params": params}, *arguments, **options)


def _picture(model: Model) -> tuple[int, int, int]:
    """The shape of one picture, or frame, that the model takes, [h, w, c]."""
    *_, height, width, channels = next(iter(model.inputs.values())).shape
    return height, width, channels


def _rank(model: Model) -> int:
    """How many axes a batch has: 4 of pictures, 5 of videos."""
    return 1 + len(next(iter(model.inputs.values())).shape)


def _expected(model: Model) -> str:
    """What a batch should look like, for messages."""
    if _rank(model) == 5:
        return "[b, t, h, w, 3], as this model takes videos; pictures are videos of one frame, images[:, None]"
    return "[b, h, w, 3]; a single one is image[None], a video's frames are so many pictures"


def _check_images(model: Model, images: Any) -> jax.Array:
    """The images as an array, or a `UserError` if they are not what the model takes."""
    expected, images = _picture(model), arguments.array("images", images)
    if images.ndim != _rank(model) and images.ndim in (4, 5):
        raise UserError(f"images of shape {tuple(images.shape)}: expected {_expected(model)}")
    if images.ndim != _rank(model) or images.shape[-3:] != expected:
        leading = "b, t" if _rank(model) == 5 else "b"
        raise UserError(
            f"images of shape {tuple(images.shape)}: this model takes [{leading}, {', '.join(map(str, expected))}], "
            "channels last, in [-1, 1]; resize them, or build the model with another resolution"
        )
    if 0 in images.shape[1:-3]:
        raise UserError(f"images of shape {tuple(images.shape)}: a video without a frame; give at least one")
    return _check_type(images)


def _check_type(images: Any) -> jax.Array:
    """The images as an array of floats; those of which the values are at hand must lie about [-1, 1]."""
    images = arguments.floats("images", images, "give floats in [-1, 1]; bytes are images / 127.5 - 1")
    if images.size and not isinstance(images, Tracer):
        values = np.asarray(images)
        _check_range(float(values.min()), float(values.max()))
    return jnp.asarray(images, jnp.float32 if images.dtype == np.float64 else None)


def _check_range(low: float, high: float) -> None:
    if max(-low, high) > UNLIKELY:
        raise UserError(f"images from {low:g} to {high:g}: give floats in [-1, 1]; bytes are images / 127.5 - 1")
    if low >= 0 and high > low:
        warnings.warn(
            f"images from {low:g} to {high:g}: models take [-1, 1]; pictures in [0, 1] are images * 2 - 1",
            stacklevel=4,
        )


def _check_slots(slots: jax.Array, batch: tuple[int, ...], *dims: int) -> None:
    shape = slots.shape
    if len(shape) != len(batch) + 2 or shape[:-2] != batch or shape[-1] not in dims:
        leading = ", ".join(map(str, batch))
        expected = " or ".join(f"[{leading}, k, {dim}]" for dim in sorted(set(dims)))
        raise UserError(f"slots of shape {tuple(shape)}: expected {expected}, as apply returns them")


jitted_apply = partial(jax.jit, static_argnames=STATIC)(apply)
