"""Prepare TFDS `clevr` in ArrayRecord format from the official archive, already downloaded.

    python -m slotjax.data.prepare_clevr CLEVR_v1.0.zip [--data-dir DIR]

TFDS's own way downloads 18 GB, unpacks them and needs TensorFlow. This one feeds the archive's members straight to
TFDS's writer: no TensorFlow, no unpacked copy, and no path inside the archive is ever written to. The result is the
same.
"""

import contextlib
import io
import itertools
import json
import shlex
import shutil
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from slotjax import cli
from slotjax.errors import UserError, first_line
from slotjax.system.console import progress, say
from slotjax.system.extras import extra
from slotjax.system.paths import given

_ROOT = "CLEVR_v1.0"
_SPLITS = {"train": "train", "val": "validation", "test": "test"}  # the archive's names, TFDS's names
_ATTRIBUTES = ("color", "material", "shape", "size", "rotation", "pixel_coords", "3d_coords")
_MAX_IMAGE_BYTES = 2**24
_MAX_JSON_BYTES = 2**32


def prepare(archive: str | Path, data_dir: str | Path = "~/tensorflow_datasets") -> Path:
    """Write the data set under `data_dir`, by default where TFDS looks; return its folder.

    The folder appears when it is complete; one that is there already is left alone.

    Raises:
      UserError: the archive is missing, damaged, or not the official one; or there is too little room.
    """
    archive, data_dir = given(archive, "archive"), given(data_dir, "--data-dir")
    if not archive.is_file():
        what = "is no file" if archive.exists() else "does not exist"
        raise UserError(f"{archive} {what}: give the path of the downloaded CLEVR_v1.0.zip")
    with extra("data"):
        import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    builder = tfds.builder("clevr", data_dir=str(data_dir), file_format="array_record")
    folder = Path(builder.data_dir)
    if folder.exists():
        say(f"{folder} is already there; delete it to prepare it again.")
        return folder
    with _opened(archive) as opened:
        images = {split: _images(opened, split) for split in _SPLITS}
        if not all(images.values()):
            missing = next(split for split, names in images.items() if not names)
            raise UserError(f"{archive} has no {_ROOT}/images/{missing}/*.png: it is not the official CLEVR_v1.0.zip")
        _check_room(folder, sum(opened.getinfo(name).file_size for names in images.values() for name in names))
        with progress(f"Preparing {archive.name}", sum(map(len, images.values()))) as advance:
            _write(builder, opened, images, advance)
    return folder


@contextlib.contextmanager
def _opened(archive: Path) -> Generator[zipfile.ZipFile]:
    try:
        if not zipfile.is_zipfile(archive):
            raise UserError(f"{archive} is no zip archive: give the path of the downloaded CLEVR_v1.0.zip")
        opened = zipfile.ZipFile(archive)
    except OSError as error:
        raise UserError(f"{archive} cannot be read ({error.strerror}): check its permissions") from None
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{archive} is damaged ({error}): download the archive again") from None
    with opened:
        yield opened


def _write(builder, archive: zipfile.ZipFile, images: dict[str, list[str]], advance: Callable[[int], object]) -> None:
    """Run the builder on the members of the archive in place of its downloads."""
    done = itertools.count(1)

    def examples(split: str) -> Iterator[tuple[str, dict]]:
        for example in _examples(archive, split, images[split]):
            advance(next(done))
            yield example

    # The one method that turns downloads into examples; naming, shuffling, sharding and publishing stay TFDS's.
    builder._split_generators = lambda dl_manager: {name: examples(split) for split, name in _SPLITS.items()}
    try:
        # Left to itself it makes a folder for downloads, and speaks of one.
        with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as unused:
            builder.download_and_prepare(download_dir=unused)
    except (UserError, ImportError, MemoryError):
        raise
    except Exception as error:  # TFDS has no common class for what does not fit its features
        reason = first_line(error)
        if isinstance(error, OSError | RuntimeError) and not reason.startswith("Failed to encode example"):
            raise UserError(f"{builder.data_dir} cannot be written ({reason}): choose another --data-dir") from None
        raise UserError(f"{archive.filename} is not the official archive ({reason}): download it again") from None


def _images(archive: zipfile.ZipFile, split: str) -> list[str]:
    prefix = f"{_ROOT}/images/{split}/"
    return sorted(name for name in archive.namelist() if name.startswith(prefix) and name.endswith(".png"))


def _check_room(folder: Path, needed: int) -> None:
    existing = next(parent for parent in folder.absolute().parents if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < 2 * needed:  # TFDS writes every example twice, to shuffle them
        raise UserError(
            f"{existing} has {free / 1e9:.1f} GB left, {2 * needed / 1e9:.1f} GB are needed: choose another --data-dir"
        )


def _examples(archive: zipfile.ZipFile, split: str, images: list[str]) -> Iterator[tuple[str, dict]]:
    """The examples of a split as TFDS's own builder makes them; a split without a scenes file has no objects."""
    scenes_file = f"{_ROOT}/scenes/CLEVR_{split}_scenes.json"
    questions_file = f"{_ROOT}/questions/CLEVR_{split}_questions.json"
    try:
        objects = None
        if scenes_file in archive.namelist():
            scenes = json.loads(_read(archive, scenes_file, _MAX_JSON_BYTES))["scenes"]
            objects = {scene["image_filename"]: scene["objects"] for scene in scenes}
        questions = defaultdict(list)
        for entry in json.loads(_read(archive, questions_file, _MAX_JSON_BYTES))["questions"]:
            answer = {"question": entry["question"], "answer": entry.get("answer", "")}
            questions[entry["image_filename"]].append(answer)
        for image in images:
            name = image.rpartition("/")[2]
            found, picture = [] if objects is None else objects[name], _read(archive, image, _MAX_IMAGE_BYTES)
            if not picture.startswith(b"\x89PNG"):
                raise ValueError(f"{name} is no PNG")
            yield (
                name,
                {
                    "image": picture,
                    "file_name": name,
                    "question_answer": questions[name],
                    "objects": [{key: thing[key] for key in _ATTRIBUTES} for thing in found],
                },
            )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{archive.filename}: split {split!r} is not as in the official archive "
            f"({type(error).__name__}: {error}): download CLEVR_v1.0.zip again"
        ) from None


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """A member of the archive, its size bounded and its checksum verified."""
    try:
        member = archive.getinfo(name)
        if member.file_size > limit:
            size = member.file_size
            raise UserError(f"{archive.filename}: {name} claims {size} bytes (at most {limit}): download it again")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others take memory of their own
            raise zipfile.BadZipFile("an unusual compression")
        return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
        raise UserError(f"{archive.filename}: {name} is damaged ({error}): download the archive again") from None


def main(arguments: list[str] | None = None) -> None:
    parser = cli.Parser("data.prepare_clevr", __doc__)
    parser.add_argument("archive", help="the downloaded CLEVR_v1.0.zip")
    parser.add_argument(
        "--data-dir", default="~/tensorflow_datasets", help="TFDS data directory (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    folder = prepare(options.archive, options.data_dir)
    print(f"TFDS clevr is in {folder}.")
    print(f"Train on it: python train.py --config configs/clevr.py:tfds --config.data.path={shlex.quote(str(folder))}")


if __name__ == "__main__":
    cli.run(main)
