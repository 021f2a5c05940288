"""Files that come with slotjax."""

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
_EXPERIMENTS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # in an installed wheel; in a checkout


def experiments() -> dict[str, Path]:
    """Configs by their names."""
    folder = next((folder for folder in _EXPERIMENTS if folder.is_dir()), _EXPERIMENTS[0])
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def weights() -> dict[str, Path]:
    """Trained weights by their names."""
    return {path.stem: path for path in sorted((_PACKAGE / "pretrained").glob("*.safetensors"))}
