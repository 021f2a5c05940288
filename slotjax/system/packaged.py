"""Files that come with slotjax."""

import json
from pathlib import Path

from slotjax.errors import UserError, nearest
from slotjax.system.paths import given

_PACKAGE = Path(__file__).parent.parent
_EXPERIMENTS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # in an installed wheel; in a checkout


def experiments() -> dict[str, Path]:
    """Configs by their names."""
    return {path.stem: path for path in sorted(_folder().glob("*.py"))}


def costs() -> dict[str, dict[str, float]]:
    """What recipes take, by "NAME:VARIANTS": minutes and gib (of memory).

    As `benchmarks/costs.py` measures it; the minutes of clevr_set:small are those of its runs in docs/results.md, which
    took longer than that came to.
    """
    path = _folder() / "costs.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def _folder() -> Path:
    return next((folder for folder in _EXPERIMENTS if folder.is_dir()), _EXPERIMENTS[0])


def weights() -> dict[str, Path]:
    """Trained weights by their names."""
    return {path.stem: path for path in sorted((_PACKAGE / "pretrained").glob("*.safetensors"))}


def find_weights(name: str | Path) -> Path:
    """A file of weights: the path itself, or that of the packaged weights of this name.

    Raises:
      UserError: there is neither.
    """
    path, known = given(name, "weights"), weights()
    if path.is_file():
        return path
    if name and path.is_dir():
        raise UserError(f"{name}: is a directory; a training run is for --workdir, slotjax pack makes weights of it")
    if str(name) not in known:
        there = f"{', '.join(known) or 'none'}{nearest(name, known)}"
        raise UserError(
            f"{name}: no such directory or file, and no packaged weights of that name; give the --workdir of a "
            f"training run, a .safetensors file of slotjax.pack, or one of {there}"
        )
    return known[str(name)]
