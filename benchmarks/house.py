"""The shape of the house, read and not imported: python benchmarks/house.py [--commit REV | --folder DIR]

Prints files and lines of every room of slotjax/ (a folder; a file at the top level is a room of its own), the arrows
between rooms (how many times a module of one imports a module of the other, imports inside functions included), and
the circles: modules, and rooms, that import each other, however many steps it takes.
"""

import argparse
import ast
import io
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tables import table

ROOT = Path(__file__).parent.parent
PACKAGE = "slotjax"
BESIDE = ("configs", "benchmarks", "examples", "tests")
TOP = "(top level)"

Graph = Mapping[str, Iterable[str]]  # of each module or room, which others it imports


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", help="of this repository, instead of the working tree")
    parser.add_argument("--folder", type=Path, default=ROOT, help="of another checkout")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        if options.commit:
            unpack(options.commit, Path(folder))
        describe(Path(folder) if options.commit else options.folder)


def unpack(commit: str, folder: Path) -> None:
    """Puts the files of a commit of this repository into a folder."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", f"{commit}^{{commit}}"]
    packed = subprocess.run(command, capture_output=True, check=False)
    if packed.returncode:
        raise SystemExit(f"error: {commit}: this repository has no such commit; `git log --oneline` lists them")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")


def describe(tree: Path) -> None:
    if not (tree / PACKAGE).is_dir():
        raise SystemExit(f"error: {tree}: has no {PACKAGE}/; name a checkout of it")
    arrows = imports(tree / PACKAGE)
    rooms = between_rooms(arrows)
    print(f"{table(['room', 'files', 'lines'], sizes(tree))}\n")
    print(table(["room", "imports (so many times)"], [[name, counted(of)] for name, of in rooms.items() if of]))
    for kind, graph in (("modules", arrows), ("rooms", rooms)):
        found = circles(graph)
        print(f"\ncircles of {kind}: {len(found) or 'none'}")
        for circle in found:
            print(f"  {', '.join(circle)}")


def sizes(tree: Path) -> Iterator[list[str]]:
    """A row for each room, for the whole package, and for what stands beside it."""
    files = sorted((tree / PACKAGE).rglob("*.py"))
    of_rooms: dict[str, list[Path]] = {TOP: []}
    for path in files:
        inside = path.relative_to(tree / PACKAGE).parts
        of_rooms.setdefault(inside[0] if len(inside) > 1 else TOP, []).append(path)
    beside = {f"{name}/": sorted((tree / name).rglob("*.py")) for name in BESIDE}
    for name, paths in {**of_rooms, f"{PACKAGE}/ in all": files, **beside}.items():
        yield [name, str(len(paths)), f"{sum(len(path.read_text().splitlines()) for path in paths):,}"]


def imports(package: Path) -> dict[str, set[str]]:
    """Which module imports which, by their dotted names, that of the package included.

    What only a type checker sees is left out. Of a module that imports by names at run time (`importlib`), texts count
    that name modules; where names are put together, f"slotjax.{name}", those without the package's name too. A package
    that Python imports on the way to a module of it does not count.
    """
    names = {name_of(path, package): path for path in sorted(package.rglob("*.py"))}
    arrows = {}
    for name, path in names.items():
        nodes = list(seen(ast.parse(path.read_text(), path)))
        found = {imported for node in nodes for imported in targets(node, name, path, names)}
        if any(by_name(node) for node in nodes):
            texts = {node.value.partition(":")[0] for node in nodes if isinstance(getattr(node, "value", None), str)}
            if f"{package.name}." in texts:
                texts |= {f"{package.name}.{text}" for text in texts}
            found |= texts & names.keys()
        arrows[name] = found - {name}
    return arrows


def by_name(node: ast.AST) -> bool:
    """Whether this imports `importlib`."""
    imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    return any(name.partition(".")[0] == "importlib" for name in (*imported, getattr(node, "module", None) or ""))


def name_of(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def seen(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all within it, but for what stands under `if TYPE_CHECKING`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            child = ast.Module(child.orelse, [])
        yield from seen(child)


def targets(node: ast.AST, module: str, path: Path, names: Mapping[str, Path]) -> Iterator[str]:
    """The modules of the package that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:  # from . import x: of the package that the module is in, or is
            parts = module.split(".")
            parts = parts[: len(parts) - node.level + (path.name == "__init__.py")]
            base = ".".join([*parts, *filter(None, [base])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            if inner in names or base in names:
                yield inner if inner in names else base


def between_rooms(arrows: Graph) -> dict[str, Counter[str]]:
    """Of each room, how many times it imports modules of each other one."""
    rooms: dict[str, Counter[str]] = {}
    for module, found in arrows.items():
        room = room_of(module)
        rooms.setdefault(room, Counter()).update(other for other in map(room_of, found) if other != room)
    return rooms


def room_of(module: str) -> str:
    """ "slotjax.nn.cpu.dense" is in "nn", "slotjax.api" in "api", and the package itself in "__init__"."""
    return [*module.split("."), "__init__"][1]


def circles(graph: Graph) -> list[list[str]]:
    """Sets of nodes each of which leads to all others."""
    reached = {node: reachable(graph, node) for node in graph}
    sets = {frozenset(other for other in reached[node] if node in reached[other]) for node in graph}
    return sorted(sorted(circle) for circle in sets if circle)


def reachable(graph: Graph, start: str) -> set[str]:
    """What one or more arrows lead to."""
    found: set[str] = set()
    ahead = [start]
    while ahead:
        new = set(graph[ahead.pop()]) - found
        found |= new
        ahead += new
    return found


def counted(of: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(of.items()))


if __name__ == "__main__":
    main()
