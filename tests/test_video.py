"""Videos: slots go through time, everything else is as of pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import slotjax
from slotjax.models.targets import flow_picture
from slotjax.nn.predictors import TransformerBlock

SIDE, SLOTS, DIM, FRAMES = 16, 3, 8, 4
KEY = jax.random.key(1)
MODEL = {
    "name": "video",
    "resolution": (SIDE, SIDE),
    "num_slots": SLOTS,
    "slot_dim": DIM,
    "mlp_dim": 8,
    "num_iterations": 1,
    "first_iterations": 2,
    "initializer": {"name": "gaussian"},
    "encoder": {"name": "cnn", "channels": (8,), "kernels": (5,), "strides": (2,), "mlp_dim": 8},
    "predictor": {"name": "transformer", "mlp_dim": 16},
    "decoder": {"name": "mlp", "hidden": (8,), "patch": 4, "frame": "slot", "position": "own"},
}
VIDEO = np.random.default_rng(0).uniform(-1, 1, (2, FRAMES, SIDE, SIDE, 3)).astype(np.float32)
apply = jax.jit(slotjax.apply, static_argnames=slotjax.STATIC)
segments = jax.jit(slotjax.segments, static_argnames="model")
picture_of = jax.jit(flow_picture)


def built(**fields):
    model = slotjax.build_model(MODEL | fields)
    return model, slotjax.init(model, jax.random.key(0), VIDEO)


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), a, b)


@pytest.fixture(scope="module")
def plain():
    return built()


@pytest.fixture(scope="module")
def out(plain):
    return apply(*plain, VIDEO, KEY)


def test_everything_has_an_axis_of_time(out):
    shapes = {name: x.shape for name, x in vars(out).items() if x is not None}
    assert shapes == {
        "slots": (2, FRAMES, SLOTS, DIM + 4),
        "attention": (2, FRAMES, SLOTS, 64),
        "masks": (2, FRAMES, SLOTS, SIDE, SIDE),
        "mask_logits": (2, FRAMES, SLOTS, SIDE, SIDE),
        "components": (2, FRAMES, SLOTS, SIDE, SIDE, 3),
        "reconstruction": VIDEO.shape,
        "target": VIDEO.shape,
    }
    np.testing.assert_allclose(out.masks.sum(2), 1, atol=1e-5)
    np.testing.assert_array_equal(out.target, VIDEO)


def test_a_video_in_parts_is_the_video(plain, out):
    first = apply(*plain, VIDEO[:, :2], KEY)
    rest = apply(*plain, VIDEO[:, 2:], initial_slots=first.slots[:, -1])
    close(jax.tree.map(lambda *x: np.concatenate(x, 1), first, rest), out)


def test_frames_do_not_know_those_after_them(plain, out):
    changed = VIDEO.copy()
    changed[:, 3] = 0.5
    other, out = jax.device_get((apply(*plain, changed, KEY), out))
    close(jax.tree.map(lambda x: x[:, :3], other), jax.tree.map(lambda x: x[:, :3], out))
    assert np.abs(other.slots[:, 3] - out.slots[:, 3]).max() > 1e-3


def test_slots_that_start_in_another_order_stay_in_it(plain):
    start, order = np.random.default_rng(1).normal(size=(2, SLOTS, DIM)).astype(np.float32), np.array([2, 0, 1])
    one, other = (jax.device_get(apply(*plain, VIDEO, cues={"slots": slots})) for slots in (start, start[:, order]))
    close(other.masks, one.masks[:, :, order])
    close(other.slots, one.slots[:, :, order])


def test_slots_to_start_from_may_be_of_another_number(plain):
    def masks(start):
        return slotjax.apply(*plain, VIDEO, cues={"slots": start}).masks

    for count in (1, SLOTS - 1, SLOTS + 1):
        assert jax.eval_shape(masks, jnp.zeros((2, count, DIM))).shape == (2, FRAMES, count, SIDE, SIDE)


def test_a_still_video_goes_through_the_iterations_of_a_picture():
    """With a predictor that does nothing each frame of it is one iteration more."""
    model, params = built(predictor={"name": "identity"}, first_iterations=0)
    pictures = {name: MODEL[name] for name in MODEL if name not in ("predictor", "first_iterations")}
    picture = slotjax.build_model(pictures | {"name": "object_discovery"})
    still = VIDEO[:, :1].repeat(FRAMES, 1)
    expected = apply(picture, params, VIDEO[:, 0], KEY, num_iterations=FRAMES, return_history=True)
    found = apply(model, params, still, KEY)
    close((found.slots, found.attention), (expected.slots_history, expected.attention_history))
    close(found.masks[:, -1], expected.masks)


def test_the_first_frame_may_have_more_iterations(plain, out):
    single, params = built(first_iterations=0)[0], plain[1]
    close(apply(single, params, VIDEO[:, :1], KEY, num_iterations=2).slots, out.slots[:, :1])
    assert jnp.abs(apply(single, params, VIDEO[:, :1], KEY).slots - out.slots[:, :1]).max() > 1e-3


@pytest.mark.slow
def test_frames_one_by_one_have_the_same_gradients_for_less_memory(plain):
    thrifty, params = slotjax.build_model(MODEL | {"remat": True}), plain[1]

    def gradients(model):
        def loss(params):
            out = slotjax.apply(model, params, VIDEO, KEY)
            return ((out.reconstruction - out.target) ** 2).mean()

        kept = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
        return jax.jit(jax.grad(loss))(params), sum(x.size for x in jax.tree.leaves(kept))

    (one, size), (other, less) = gradients(plain[0]), gradients(thrifty)
    close(one, other)
    assert less < 0.7 * size


def test_post_and_pre_norm_are_what_they_say():
    x = np.random.default_rng(1).normal(size=(2, 3, 8)).astype(np.float32)

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)

    for kind in ("post", "pre"):
        block = TransformerBlock(heads=2, mlp_dim=5, norm=kind)
        params = jax.device_get(jax.jit(block.init)(jax.random.key(2), x)["params"])
        q, k, v = (
            np.einsum("bnd,dhe->bhne", norm(x) if kind == "pre" else x, params["attention"][name]["kernel"])
            for name in ("query", "key", "value")
        )
        weights = softmax(np.einsum("bhne,bhme->bhnm", q, k) / 2, axis=-1)
        found = np.einsum("bhnm,bhme,hed->bnd", weights, v, params["attention"]["out"]["kernel"])
        y = x + found if kind == "pre" else norm(x + found)
        hidden = (norm(y) if kind == "pre" else y) @ params["dense0"]["kernel"]
        y = y + np.maximum(hidden, 0) @ params["dense1"]["kernel"]
        close(jax.jit(block.apply)({"params": params}, x), y if kind == "pre" else norm(y))


BOXES = np.array([[[0, 0, 0.5, 0.5], [-1, -1, -1, -1]], [[0.25, 0, 1, 0.5], [0, 0.5, 0.5, 1]]], np.float32)


@pytest.fixture(scope="module")
def cued():
    return built(initializer={"name": "cues", "hidden_dim": 8})


def test_slots_start_from_boxes(cued):
    model, params = cued
    layers = jax.device_get(params["attention"]["initializer"])
    rows = np.concatenate([np.zeros((2, 1, 4), np.float32), BOXES.clip(0)], 1)  # the background first, zeros for none
    hidden = np.maximum(rows @ layers["dense0"]["kernel"] + layers["dense0"]["bias"], 0)
    slots = hidden @ layers["dense1"]["kernel"] + layers["dense1"]["bias"]
    expected = apply(model, params, VIDEO, cues={"slots": slots})
    close(apply(model, params, VIDEO, cues={"boxes": BOXES}), expected)
    rounded = np.where(BOXES == 0, np.float32(-5e-4), BOXES)  # a little outside is no object less
    found = apply(model, params, VIDEO, cues={"boxes": rounded})
    np.testing.assert_allclose(found.masks, expected.masks, atol=1e-2)
    shorter = apply(model, params, VIDEO[:1], cues={"boxes": BOXES[:1, :1]})
    close(shorter.slots, expected.slots[:1])


def test_slots_start_from_centers():
    model, params = built(initializer={"name": "cues", "cue": "centers", "hidden_dim": 8})
    centers = jnp.array([[[0.25, 0.25], [-1, -1]], [[0.625, 0.25], [0.25, 0.75]]])
    given = model.cues({"boxes": BOXES[:, None]})
    close(given["cues"]["centers"], centers)
    assert model.learns_from == ("boxes",)
    assert apply(model, params, VIDEO, cues={"centers": centers}).slots.shape == (2, FRAMES, SLOTS, DIM + 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r'cues=None: this model starts its slots from boxes; give cues={"boxes": \[b, m, 4\]}'),
        ({"cues": {"centers": BOXES[..., :2]}}, r"cues=\['centers'\]: this model starts its slots from boxes"),
        (
            {"cues": {"boxes": BOXES[0]}},
            r"cues\['boxes'\] of shape \(2, 4\): expected \[2, m, 4\], ymin, xmin, ymax, xmax",
        ),
        ({"cues": {"boxes": BOXES[:1]}}, r"expected \[2, m, 4\]"),
        ({"cues": {"boxes": jnp.zeros((2, 4, 4))}}, "4 objects and 3 slots; give those of 2 at most"),
        ({"cues": {"boxes": 16 * BOXES}}, r"cues\['boxes'\] from -16 to 16: give ymin, .* not in pixels"),
        ({"cues": {"boxes": jnp.maximum(BOXES, -0.5)}}, "from -0.5 to 1: give"),
        ({"cues": {"boxes": BOXES * jnp.nan}}, "from nan to nan: give"),
        ({"cues": {"boxes": BOXES[..., ::-1]}}, "a box ends before it begins; the order is ymin, xmin, ymax, xmax"),
        ({"cues": {"boxes": [["a"]]}}, r"cues\['boxes'\] of dtype"),
        ({"cues": {"slots": jnp.zeros((2, 3, 5))}}, r"cues\['slots'\] of shape \(2, 3, 5\): expected \[2, k, 8\]"),
        ({"cues": {"slots": jnp.zeros((2, 3, 8))}, "num_slots": 4}, r"num_slots=4: cues\['slots'\] holds 3; leave"),
        ({"cues": {"boxes": BOXES}, "initial_slots": jnp.zeros((2, 3, 8))}, "cues: the slots start from initial_slots"),
    ],
)
def test_impossible_cues_are_named(cued, options, message):
    with pytest.raises(ValueError, match=message):
        slotjax.apply(*cued, VIDEO, **options)


@pytest.mark.parametrize(
    ("video", "options", "message"),
    [
        (VIDEO[:, 0], {"key": KEY}, r"\(2, 16, 16, 3\): expected \[b, t, h, w, 3\], .* images\[:, None\]"),
        (VIDEO[0], {"key": KEY}, r"expected \[b, t, h, w, 3\]"),
        (VIDEO[:, :0], {"key": KEY}, r"\(2, 0, 16, 16, 3\): a video without a frame; give at least one"),
        (VIDEO[:, :, :8], {"key": KEY}, r"this model takes \[b, t, 16, 16, 3\], channels last"),
        (VIDEO, {}, "key=None: pass a jax.random.key"),
        (VIDEO, {"cues": {"boxes": BOXES}}, r"cues=\['boxes'\]: this model draws its slots; give cues={\"slots\""),
        (VIDEO, {"initial_slots": jnp.zeros((2, FRAMES, 3, 8))}, r"expected \[2, k, 8\] or \[2, k, 12\]"),
        (VIDEO, {"key": KEY, "return_history": True}, "return_history=True: is for pictures"),
    ],
)
def test_impossible_videos_are_named(plain, video, options, message):
    with pytest.raises(ValueError, match=message):
        slotjax.apply(*plain, video, **options)


def test_a_model_of_pictures_is_told_from_one_of_videos():
    pictures = {name: MODEL[name] for name in MODEL if name not in ("predictor", "first_iterations")}
    model = slotjax.build_model(pictures | {"name": "object_discovery"})
    params = slotjax.init(model, KEY, VIDEO[:, 0])
    with pytest.raises(ValueError, match=r"\(2, 4, 16, 16, 3\): expected \[b, h, w, 3\]; .* so many pictures"):
        slotjax.apply(model, params, VIDEO, KEY)
    with pytest.raises(ValueError, match="cues: a model of pictures takes none"):
        slotjax.apply(model, params, VIDEO[:, 0], KEY, cues={"boxes": BOXES})


def test_segments_and_responsibilities_are_of_every_frame(plain, out):
    responsibilities = jax.jit(slotjax.responsibilities)
    shares = np.asarray(responsibilities(out, VIDEO))
    assert shares.shape == (2, FRAMES, SLOTS, SIDE, SIDE)
    frame = jax.tree.map(lambda x: x[:, 1], jax.device_get(out))
    close(shares[:, 1], responsibilities(frame, VIDEO[:, 1]))
    large = VIDEO.repeat(2, 2).repeat(2, 3)
    assert segments(*plain, large, KEY).shape == (2, FRAMES, 2 * SIDE, 2 * SIDE)


def test_decode_takes_single_frames_too(plain, out):
    decode = jax.jit(slotjax.decode, static_argnames="model")
    close(decode(*plain, out.slots).masks, out.masks)
    close(decode(*plain, out.slots[:, 2]).masks, out.masks[:, 2])
    with pytest.raises(ValueError, match=r"expected \[2, 4, k, 12\]"):
        slotjax.decode(*plain, out.slots[..., :3])


def test_flow_and_depth_are_drawn_as_they_are_asked_for():
    model, params = built(targets=("flow", "depth"))
    found = apply(model, params, VIDEO, KEY)
    assert found.reconstruction.shape == (2, FRAMES, SIDE, SIDE, 4) and found.target is None
    assert model.learns_from == ("flow", "depth")
    flow = np.random.default_rng(1).normal(size=(*VIDEO.shape[:4], 2)).astype(np.float32)
    batch = {"image": VIDEO, "flow": flow, "depth": np.full((*VIDEO.shape[:4], 1), 3, np.float32)}
    target = np.asarray(jax.jit(lambda found, batch: model.aimed(found, batch).target)(found, batch))
    np.testing.assert_array_equal(target[..., :3], picture_of(flow))
    np.testing.assert_allclose(target[..., 3], np.log(4), rtol=1e-6)
    # Without flow the masks decide alone.
    np.testing.assert_array_equal(segments(model, params, VIDEO, KEY), np.asarray(found.masks).argmax(2))


def test_flow_pictures_are_the_originals(shared_data):
    recorded = np.load(shared_data / "golden" / "golden_savi.npz")
    np.testing.assert_array_equal(picture_of(recorded["flow/in"]), recorded["flow/rgb"])
    np.testing.assert_array_equal(picture_of(recorded["in/flow_raw"]), recorded["in/flow"])


@pytest.mark.parametrize("remat", [False, True])
def test_a_decoder_that_samples_draws_other_places_of_each_frame_in_training_alone(plain, out, remat):
    model = slotjax.build_model(MODEL | {"decoder": MODEL["decoder"] | {"sample": 2}, "remat": remat})
    np.testing.assert_allclose(apply(model, plain[1], VIDEO, KEY).masks, out.masks, atol=1e-6)
    part = apply(model.in_training(), plain[1], VIDEO, KEY)
    assert part.target.shape == part.reconstruction.shape == (2, FRAMES, 8, 8, 3)
    chosen = set()
    for frame in np.ndindex(2, FRAMES):
        rows, columns = (  # the target tells which
            [int(np.argwhere((VIDEO[frame] == pixel).all(-1))[0][axis]) for pixel in line]
            for axis, line in enumerate((part.target[frame][:, 0], part.target[frame][0]))
        )
        for name in ("masks", "components"):
            whole = np.asarray(getattr(out, name)[frame])[:, rows][:, :, columns]
            np.testing.assert_allclose(getattr(part, name)[frame], whole, atol=1e-5)
        chosen.add((*rows, *columns))
    assert len(chosen) > FRAMES


def test_the_first_slot_can_have_a_head_start(plain, out):
    masks = apply(slotjax.build_model(MODEL | {"background": 2.0}), plain[1], VIDEO, KEY).masks
    weighed = out.masks * jnp.array([np.exp(2.0), 1, 1])[:, None, None]
    np.testing.assert_allclose(masks, weighed / weighed.sum(2, keepdims=True), atol=1e-6)


def test_directions_have_a_hue_and_standing_still_is_white():
    still, right, down = (np.full((1, 30, 40, 2), flow, np.float32) for flow in ((0, 0), (0, 9), (9, 0)))
    colours = [np.asarray(picture_of(flow))[0, 0, 0] for flow in (still, right, down)]
    np.testing.assert_allclose(colours, [(1, 1, 1), (0.5, 0, 1), (0, 1, 1)], atol=1 / 255)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": ()}, r"model.targets=\(\): name at least one of image, flow, backward_flow, depth, each once"),
        ({"targets": ("flow", "flow")}, "each once"),
        ({"targets": ("sound",)}, "model.targets='sound': choose one of image, flow, backward_flow, depth"),
        (
            {"targets": ("flow",), "decoder": MODEL["decoder"] | {"sample": 2}},
            "model.decoder.sample: is for model.targets=image alone; set it to 1",
        ),
        ({"attention": "invariant"}, "model.attention='invariant': is for pictures"),
        ({"predictor": {"name": "rnn"}}, "model.predictor.name='rnn': choose one of transformer, identity"),
        (
            {"predictor": {"name": "transformer", "qkv_dim": 9}},
            "model.predictor.qkv_dim=9: must be a multiple of heads=4",
        ),
        ({"predictor": {"name": "transformer", "heads": 3}}, "model.predictor.heads=3: must divide the 8 numbers"),
        (
            {"name": "object_discovery", "initializer": {"name": "cues"}},
            "model.initializer.name='cues': is for model.name",
        ),
    ],
)
def test_impossible_models_of_videos_are_named(change, message):
    fields = MODEL | change
    if fields["name"] != "video":
        fields = {name: value for name, value in fields.items() if name not in ("predictor", "first_iterations")}
    with pytest.raises(ValueError, match=message):
        slotjax.init(slotjax.build_model(fields), KEY, VIDEO)
