"""slotjax configs: the experiments that come with slotjax, their variants, and what they take.

`slotjax train --config NAME`, or NAME:VARIANT,VARIANT, runs one, in whatever directory.
"""

import ast
import re
from pathlib import Path

from slotjax import cli
from slotjax.errors import UserError
from slotjax.system import packaged

_VARIANT = re.compile(r"^    (\w+)  +(\S.*)$", re.MULTILINE)


def main() -> None:
    cli.Parser("config.experiments", __doc__).parse_args()
    print(listing())


def find(name: str) -> Path:
    """The file of an experiment: the path itself, or what comes with slotjax as "quick" or "configs/quick.py".

    Raises:
      UserError: there is neither.
    """
    path, known = Path(name).expanduser(), packaged.experiments()
    if path.is_file():
        return path
    if path in (Path(path.stem), Path("configs", f"{path.stem}.py")) and path.stem in known:
        return known[path.stem]
    raise UserError(f"--config {name}: no such file, and none of those that come with slotjax: {', '.join(known)}")


def described(path: Path) -> tuple[str, dict[str, str]]:
    """An experiment's first line, and that of each variant, from the docstring; the file is not run."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.partition("\n")[0], dict(_VARIANT.findall(text))


def listing() -> str:
    """A line for each experiment, and one for each of its variants."""
    lines = []
    for name, path in packaged.experiments().items():
        summary, variants = described(path)
        lines += [f"{name}: {summary}", *(f"    :{variant:<18} {line}" for variant, line in variants.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
