"""Which files of a folder are pictures, which are masks, and which mask belongs to which picture.

Masks lie in a folder that is called so (`masks`, `labels`, `annotations`, `SegmentationObject`, `train_masks`, ...; the
folder that was given may have any name), under the name of their picture: `masks/NAME.png` for `NAME.jpg` or
`images/NAME.jpg`. They may also lie beside it as `NAME_mask.png`. The ending is free (`NAME.jpg.png` too), and other
folders on the mask's way (`masks/train/NAME.png`) are on the picture's (`images/train/NAME.jpg`). Either all pictures
have a mask or none. Where the name of a folder of masks speaks of classes too (`class_masks`, `SegmentationClass`),
what it holds are classes.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from slotjax.errors import UserError
from slotjax.system.console import number

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
_MASK_WORDS = {
    *("mask", "masks", "label", "labels", "labelmap", "labelmaps", "annotation", "annotations", "annot"),
    *("seg", "segs", "segment", "segments", "segmentation", "segmentations", "segmap", "segmaps", "instances"),
    *("groundtruth", "truth", "gt", "gts", "trimap", "trimaps"),
}
_CLASS_WORDS = {"class", "classes", "semantic"}
_WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # of SegmentationObject, train_masks, GT


def files_below(directory: Path) -> list[Path]:
    """All files below a folder that are not hidden, in order; links are followed, each folder is read once."""

    def refuse(error: OSError) -> None:
        raise UserError(f"data.path: {error.filename} cannot be read ({error.strerror}): check its permissions")

    def is_new(path: str) -> bool:
        real = os.path.realpath(path)
        return not (real in seen or seen.add(real))

    files: list[Path] = []
    seen = {os.path.realpath(directory)}
    for folder, inner, names in os.walk(directory, onerror=refuse, followlinks=True):
        inner[:] = [name for name in sorted(inner) if name[0] != "." and is_new(os.path.join(folder, name))]
        files += [Path(folder, name) for name in names if name[0] != "."]
    return sorted(files)


def pair(files: list[Path], directory: Path) -> tuple[list[Path], list[Path], int]:
    """The pictures among these files, the masks in the same order (or none), and how many masks have no picture.

    Raises:
      UserError: no pictures; a picture without a mask where others have one, or with two; no mask with a picture.
    """
    pictures, masks = _apart(files, directory)
    if not pictures and masks:
        names = ", ".join(sorted({str(path.parent.relative_to(directory)) for path in masks})[:4])
        raise UserError(f"data.path: {directory} holds pictures only where the name says masks ({names}): rename that")
    mask_of = _mask_of(pictures, masks, directory)
    if masks and not mask_of:
        raise UserError(
            f"data.path: {masks[0]} seems to be a mask, but neither it nor any other has the name of a picture: give "
            "masks the names of their pictures, or another name to a folder of pictures"
        )
    if mask_of and len(mask_of) < len(pictures):
        lonely = [path for path in pictures if path not in mask_of]
        raise UserError(
            f"data.path: {lonely[0]} has no mask ({len(lonely)} of {number(len(pictures), 'picture')} have none): add "
            "what is missing, or take all masks away"
        )
    return pictures, [mask_of[path] for path in pictures] if mask_of else [], len(masks) - len(mask_of)


def shows_classes(path: Path, directory: Path) -> bool:
    """Whether a file lies where masks of classes are."""
    return any(_says_mask(part) and _says(_CLASS_WORDS, part) for part in _way(path, directory))


def _apart(files: list[Path], directory: Path) -> tuple[list[Path], list[Path]]:
    """Pictures and masks, told apart by their folders' names and their own."""
    names = {path.parent / name for path in files for name in (path.stem, path.name)}
    pictures, masks = [], []
    for path in files:
        in_folder = any(map(_says_mask, path.relative_to(directory).parts[:-1]))
        beside = _without_word(path.stem) != path.stem and path.parent / _without_word(path.stem) in names
        (masks if in_folder or beside else pictures).append(path)
    return pictures, masks


def _says_mask(name: str) -> bool:
    return _says(_MASK_WORDS, name)


def _says(words: set[str], name: str) -> bool:
    return any(word.lower() in words for word in _WORD.findall(name))


def _without_word(stem: str) -> str:
    """The name without "_mask" or the like at its end."""
    end = re.search(r"[ _.-]+([A-Za-z]+)$", stem)
    return stem[: end.start()] if end and end.start() and end[1].lower() in _MASK_WORDS else stem


def _mask_of(pictures: list[Path], masks: list[Path], directory: Path) -> dict[Path, Path]:
    """Picture -> mask, for those that have one."""
    by_name = defaultdict(list)
    for path in pictures:
        for name in {path.stem, path.name}:
            by_name[name].append(path)
    mask_of: dict[Path, Path] = {}
    for mask in masks:
        found = by_name[mask.stem] or by_name[_without_word(mask.stem)]
        candidates = _nearest(found, mask, directory)
        if len(candidates) > 1:
            raise UserError(
                f"data.path: {mask} is the mask of {candidates[0]} or of {candidates[1]}: give these names of their own"
            )
        for picture in candidates:
            if picture in mask_of:
                raise UserError(f"data.path: {picture} has two masks, {mask_of[picture]} and {mask}: take one away")
            mask_of[picture] = mask
    return mask_of


def _nearest(pictures: list[Path], mask: Path, directory: Path) -> list[Path]:
    """Of pictures of one name, those on whose way the mask's other folders lie; best in no others."""
    way = [part for part in _way(mask, directory) if not _says_mask(part)]
    near = [path for path in pictures if _is_on(way, _way(path, directory))]
    return [path for path in near if _way(path, directory) == way] or near


def _way(path: Path, directory: Path) -> list[str]:
    return list(path.relative_to(directory).parts[:-1])


def _is_on(way: Iterable[str], parts: Iterable[str]) -> bool:
    """Whether `way` is `parts` with some left out."""
    rest: Iterator[str] = iter(parts)
    return all(part in rest for part in way)
