"""What every command shares: the user's mistakes become one line and exit code 2."""

import sys
from collections.abc import Callable

from slotjax.errors import UserError

EXIT_USER_ERROR = 2


def run(main: Callable[[], int | None]) -> None:
    """Runs `main` and exits: with its code, with 2 and one line for a `UserError`, with 130 when interrupted."""
    try:
        code = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    sys.exit(code)
