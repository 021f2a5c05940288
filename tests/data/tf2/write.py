"""Writes the checkpoints beside it: `pip install tensorflow-cpu==2.15.1; python write.py`.

TensorFlow 2.15 is the last with Keras 2, whose Adam keeps the slots that the original's checkpoints hold. The objects
are plain nests with the attributes of the original's, which give the same names; the models are small. What TensorFlow
held goes into NAME.npz, by the names of `slotjax.convert.from_tf2`; `sharded` and `types` hold the same weights as
`set_prediction`.
"""

import re
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
WIDTH, CHANNELS, TOKEN, HIDDEN = 6, 4, 8, 10


def shapes(head: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    kernels = {
        "encoder_cnn/conv0": (3, 3, 3, CHANNELS),
        "encoder_cnn/conv1": (3, 3, CHANNELS, CHANNELS),
        "encoder_pos/dense": (4, CHANNELS),
        "mlp/dense0": (CHANNELS, TOKEN),
        "mlp/dense1": (TOKEN, TOKEN),
        "slot_attention/mlp/dense0": (WIDTH, HIDDEN),
        "slot_attention/mlp/dense1": (HIDDEN, WIDTH),
        **head,
    }
    found = {f"{name}/kernel": shape for name, shape in kernels.items()}
    found |= {f"{name}/bias": shape[-2:-1] if "deconv" in name else shape[-1:] for name, shape in kernels.items()}
    widths = {"inputs": TOKEN, "slots": WIDTH, "mlp": WIDTH}
    found |= {f"slot_attention/project_{x}/kernel": (widths["slots" if x == "q" else "inputs"], WIDTH) for x in "qkv"}
    for part in ("gamma", "beta"):
        found[f"layer_norm/{part}"] = (CHANNELS,)
        found |= {f"slot_attention/norm_{x}/{part}": (width,) for x, width in widths.items()}
    found |= {f"slot_attention/gru/{name}": (WIDTH, 3 * WIDTH) for name in ("kernel", "recurrent_kernel")}
    found |= {f"slot_attention/{name}": (1, 1, WIDTH) for name in ("slots_mu", "slots_log_sigma")}
    return found | {"slot_attention/gru/bias": (2, 3 * WIDTH)}


DISCOVERY = shapes(
    {
        "decoder_pos/dense": (4, WIDTH),
        "decoder_cnn/deconv0": (3, 3, CHANNELS, WIDTH),
        "decoder_cnn/deconv1": (3, 3, 4, CHANNELS),
    }
)
SET_PREDICTION = shapes({"mlp_classifier/dense0": (WIDTH, HIDDEN), "mlp_classifier/dense1": (HIDDEN, 19)})


def objects(variables: dict[str, tf.Variable]) -> tf.train.Checkpoint:
    """The tree of objects that gives the variables the names that the original's Keras model gives them."""
    tree: dict = {}
    for name, variable in variables.items():
        name = re.sub(r"\b(conv|deconv|dense)(?=\d+/)", "layer_with_weights-", name)
        *branches, leaf = f"layer_with_weights-0/{name}".split("/")
        branch = tree
        for part in branches:
            branch = branch.setdefault(part, {})
        branch[leaf] = variable

    def nested(branch):
        if isinstance(branch, tf.Variable):
            return branch
        return tf.train.Checkpoint(**{name: nested(part) for name, part in branch.items()})

    return nested(tree)


def values(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def write(name: str, arrays: dict[str, np.ndarray], dtypes: tuple = (tf.float32,), slots: bool = True) -> None:
    """A checkpoint of network, optimizer and step, whose variables take turns in their types."""
    variables = {
        key: tf.Variable(array, dtype=dtypes[i % len(dtypes)]) for i, (key, array) in enumerate(arrays.items())
    }
    optimizer = tf.keras.optimizers.legacy.Adam(4e-4)
    if slots:
        optimizer.apply_gradients((tf.ones_like(x), x) for x in list(variables.values())[:3])
        np.savez_compressed(HERE / f"{name}.npz", **{key: x.numpy() for key, x in variables.items()})
    network = objects(variables)
    network.settings = Settings()
    step = tf.Variable(1, trainable=False, dtype=tf.int64)
    tf.train.Checkpoint(network=network, optimizer=optimizer, global_step=step).save(str(HERE / name))
    (HERE / "checkpoint").unlink()


def write_sharded(name: str, source: str) -> None:
    """The network of another checkpoint in two shards, as two hosts would write it."""
    reader = tf.train.load_checkpoint(str(HERE / source))
    keys = [key for key in reader.get_variable_to_shape_map() if key.startswith("network/") and ".OPTIM" not in key]
    parts = [str(HERE / f"part{i}") for i in range(2)]
    for i, part in enumerate(parts):
        held = sorted(keys)[i::2]
        tf.raw_ops.SaveV2(
            prefix=part,
            tensor_names=held,
            shape_and_slices=[""] * len(held),
            tensors=[tf.constant(reader.get_tensor(key)) for key in held],
        )
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(HERE / name))


class Settings(tf.train.experimental.PythonState):
    """A text among the attributes, as TensorFlow before 2.4 kept the configs of layers."""

    def serialize(self):
        return b'{"class_name": "Conv2D"}'

    def deserialize(self, value):
        del value


def write_tf1(name: str) -> None:
    """Variables by name, without objects."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("conv/kernel", [2, 2])
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(HERE / name), write_meta_graph=False, write_state=False)


if __name__ == "__main__":
    write("discovery", values(DISCOVERY))
    write("set_prediction", values(SET_PREDICTION))
    write(
        "types",
        dict(np.load(HERE / "set_prediction.npz")),
        (tf.float32, tf.bfloat16, tf.float16, tf.float64),
        slots=False,
    )
    write_sharded("sharded-1", "set_prediction-1")
    write_tf1("tf1")
