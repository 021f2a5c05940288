"""slotjax demo [--weights NAME | --workdir DIR]: a page where pictures are split into slots, and put together anew.

Drop a picture in, or draw a random scene; change the number of slots, the iterations and sigma; hide a slot, move it,
or swap it for one of another picture. The page is for this machine alone, and asks nothing of the network.
"""

import argparse

from slotjax import cli
from slotjax.errors import UserError


def main() -> None:
    arguments = parse()
    if arguments.workdir and arguments.weights:
        raise UserError("--workdir and --weights: give one of the two, or neither for clevr6")
    from slotjax.demo import server  # after the flags, so that a wrong one is answered at once

    weights = None if arguments.workdir else arguments.weights or "clevr6"
    server.serve(arguments.workdir, weights, arguments.port, arguments.open)


def parse() -> argparse.Namespace:
    parser = cli.Parser("demo", __doc__)
    parser.add_argument("--weights", metavar="NAME", help="that come with the library, or a file; clevr6 by default")
    parser.add_argument("--workdir", metavar="DIR", type=cli.path, help="of a training run")
    parser.add_argument("--port", type=cli.integer(0, 65535), default=7860, help="of the page; 0: any that is free")
    parser.add_argument("--open", action="store_true", help="opens the page in a browser")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
