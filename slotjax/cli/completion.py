"""What a shell is told where its user presses Tab: eval "$(register-python-argcomplete slotjax)" turns it on."""

import argparse

import argcomplete

from slotjax.system import packaged

SUGGESTIONS = {  # by what a flag is called
    "config": argcomplete.ChoicesCompleter(dict.fromkeys(packaged.experiments(), "")),
    "weights": argcomplete.ChoicesCompleter(dict.fromkeys(packaged.weights(), "")),
    "workdir": argcomplete.DirectoriesCompleter(),
}


def complete(parser: argparse.ArgumentParser) -> None:
    """Prints how the line may go on, for the shell, and ends the process."""
    for action in parser._actions:
        if action.dest in SUGGESTIONS:
            action.completer = SUGGESTIONS[action.dest]  # ty: ignore[missing-attribute]
    argcomplete.autocomplete(parser, always_complete_options="long")
