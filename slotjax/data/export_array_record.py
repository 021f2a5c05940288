"""Scenes as a data set that TFDS reads, written without TensorFlow."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slotjax.data.clevr_properties import NAMES
from slotjax.data.scenes import Scene

_VERSION = "1.0.0"


class ArrayRecord:
    """A TFDS data set: shards of examples, and the metadata that TFDS reads."""

    def __init__(self, name: str, shapes: Scene, out: Path, split: str):
        import tensorflow_datasets as tfds

        self._tfds, self._name, self._out, self._split = tfds, f"{name}_scenes", out, split
        height, width, channels = shapes.image.shape
        objects = {key: _tfds_feature(tfds, name, key, leaf) for key, leaf in _stored_attributes(shapes).items()}
        self._features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(height, width, channels)),
                "segments": tfds.features.Image(shape=(height, width, 1)),
                "objects": tfds.features.Sequence(objects),
            }
        )
        serialized = self._features.get_serialized_info()
        self._serializer = tfds.core.example_serializer.ExampleSerializer(serialized)

    def part(self, index: int, count: int) -> Path:
        """A shard, which stays where it is."""
        return self._out / f"{self._name}-{self._split}.array_record-{index:05d}-of-{count:05d}"

    def has(self, index: int, count: int) -> bool:
        """Whether a shard need not be written any more."""
        return self.part(index, count).is_file()

    def write(self, path: Path, scenes: Iterator[Scene]) -> None:
        """Writes scenes of numpy arrays, image and segments uint8, to a new file."""
        from array_record.python.array_record_module import ArrayRecordWriter  # ty: ignore[import-not-found]

        writer = ArrayRecordWriter(str(path), "group_size:1")
        for scene in scenes:
            present = np.asarray(scene.objects["present"])
            objects = {key: value[present] for key, value in _stored_attributes(scene).items()}
            stored = {"image": _png(scene.image), "segments": _png(scene.segments), "objects": objects}
            writer.write(self._serializer.serialize_example(self._features.encode_example(stored)))
        writer.close()

    def finish(self, sizes: list[int]) -> Path:
        """Writes the metadata for shards of these numbers of scenes; returns the folder."""
        core = self._tfds.core
        template = core.ShardedFileTemplate(
            dataset_name=self._name, data_dir=self._out, split=self._split, filetype_suffix="array_record"
        )
        num_bytes = sum(path.stat().st_size for path in self._out.glob(f"{self._name}-{self._split}.array_record-*"))
        info = core.SplitInfo(name=self._split, shard_lengths=sizes, num_bytes=num_bytes, filename_template=template)
        self._tfds.folder_dataset.write_metadata(
            data_dir=self._out,
            features=self._features,
            split_infos=[info],
            version=_VERSION,
            filename_template=template,
            check_data=False,
        )
        return self._out


def _stored_attributes(scene: Scene) -> dict[str, Any]:
    return {key: value for key, value in scene.objects.items() if key != "present"}


def _tfds_feature(tfds: Any, name: str, key: str, leaf: Any) -> Any:
    if name == "clevr" and key in NAMES:
        return tfds.features.ClassLabel(names=list(NAMES[key]))
    return tfds.features.Tensor(shape=leaf.shape[1:], dtype=np.dtype(leaf.dtype))


def _png(array: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.asarray(array)).save(buffer, "PNG")
    return buffer.getvalue()
