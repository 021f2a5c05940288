"""slotjax configs: the experiments that come with slotjax, their variants, and what they take.

`slotjax train --config NAME`, or NAME:VARIANT,VARIANT, runs one, in whatever directory.
"""

import ast
import re
from pathlib import Path

from slotjax import cli
from slotjax.errors import UserError, nearest
from slotjax.nn.fields import choose
from slotjax.system import packaged
from slotjax.system.paths import given

BELOW = (
    "Times are without evaluations, on cores with nothing else to do. What says nothing of time was not measured; the "
    "papers' own sizes take a GPU, for hours or days."
)
_VARIANT = re.compile(r"^    (\w+)  +(\S.*)$", re.MULTILINE)


def main() -> None:
    cli.Parser("config.experiments", __doc__).parse_args()
    print(listing())


def find(name: str) -> Path:
    """The file of an experiment: the path itself, or what comes with slotjax as "quick" or "configs/quick.py".

    Raises:
      UserError: there is neither.
    """
    path, known = given(name, "--config"), packaged.experiments()
    if path.is_file():
        return path
    if path in (Path(path.stem), Path("configs", f"{path.stem}.py")) and path.stem in known:
        return known[path.stem]
    raise UserError(
        f"--config {name}: no such file, and none of those that come with slotjax: {', '.join(known)}"
        f"{nearest(path.stem, known)}"
    )


def check_variants(path: Path, chosen: str) -> None:
    """Raises a `UserError` for a variant that an experiment which comes with slotjax has not, without running its file.

    That of anyone's own file is refused by `apply_variants`.
    """
    if path in packaged.experiments().values():
        known = described(path)[1]
        for name in filter(None, chosen.split(",")):
            choose("variant", known, name)


def described(path: Path) -> tuple[str, dict[str, str]]:
    """An experiment's first line, and that of each variant, from the docstring; the file is not run."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.partition("\n")[0], dict(_VARIANT.findall(text))


def listing() -> str:
    """A line for each experiment, each of its variants, and those of their combinations that were measured."""
    lines = []
    for name, path in packaged.experiments().items():
        summary, variants = described(path)
        lines += [f"{name}: {summary.rstrip('.')}{cost(name)}"]
        several = {x.partition(":")[2]: "of these" for x in packaged.costs() if x.startswith(f"{name}:") and "," in x}
        lines += [f"    :{x:<18} {line}{cost(f'{name}:{x}')}" for x, line in (variants | several).items()]
    return "\n".join([*lines, "", BELOW])


def cost(name: str) -> str:
    """What a recipe takes, after its description; nothing where that was not measured."""
    found = packaged.costs().get(name)
    return f"; takes about {found['minutes']:.0f} min and {found['gib']:.1f} GiB on two CPU cores" if found else ""


if __name__ == "__main__":
    cli.run(main)
