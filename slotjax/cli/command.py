"""The command `slotjax`, which runs the others: `slotjax train` is `python -m slotjax.train`.

What it offers is imported when it is run, so that --help, --version and a shell's Tab answer at once.
"""

import os
import runpy
import sys

from slotjax import cli
from slotjax.system.console import CONSOLE
from slotjax.system.version import VERSION

COMMANDS = {  # name: its module, and what it does
    "train": ("train", "learns from a config's pictures, and reports on what was found"),
    "evaluate": ("evaluate", "scores a trained model on held-out pictures"),
    "segment": ("segment", "splits your own pictures into segments and slots"),
    "report": ("report", "a page about a run, or one that compares several"),
    "demo": ("demo", "a page on this machine: drop a picture in, move slots about"),
    "export": ("export", "a trained model as StableHLO or ONNX, to run without slotjax"),
    "pack": ("pack", "a trained model as one file of weights"),
    "card": ("reporting.card", "what a file of weights is, how it was made and how good it is"),
    "convert": ("data.convert", "multi-object TFRecords, once, into a form with random access"),
    "configs": ("config.experiments", "the experiments that come with slotjax, and what they take"),
}
USAGE = "slotjax COMMAND ..."
COMPLETION = 'eval "$(register-python-argcomplete slotjax)"'


def main() -> None:
    """Runs the command that the line names, as `python -m` does; else says which there are."""
    words = typed()
    if words[:1] and words[0] in COMMANDS:
        sys.argv = [CONSOLE + words[0], *sys.argv[2:]]
        runpy.run_module(f"slotjax.{COMMANDS[words[0]][0]}", run_name="__main__")
    else:
        cli.run(explain)


def typed() -> list[str]:
    """The words after `slotjax`; where a shell asks how its line may go on, those that are complete."""
    if "_ARGCOMPLETE" not in os.environ:
        return sys.argv[1:]
    *words, _ = f"{os.environ['COMP_LINE'][: int(os.environ['COMP_POINT'])]}|".split()
    if len(words) > 1:
        os.environ["_ARGCOMPLETE"] = "2"  # argcomplete shall take the second word for the program
    return words[1:]


def explain() -> None:
    """--help and --version, and the answer to a wrong command."""
    described = "\n".join(f"  {name:<10}{line}" for name, (_, line) in COMMANDS.items())
    parser = cli.Parser("", f"Object-centric learning in JAX and Flax.\n\ncommands:\n{described}", usage=USAGE)
    parser.prog = CONSOLE.strip()
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help="slotjax COMMAND --help lists its flags")
    parser.epilog = f"A shell completes it after  {COMPLETION}"
    bare = len(sys.argv) == 1 and "_ARGCOMPLETE" not in os.environ
    parser.parse_args(["--help"] if bare else None)
