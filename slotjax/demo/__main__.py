"""slotjax demo [--weights NAME | --workdir DIR]: a page where pictures are split into slots, and put together anew.

Drop a picture in, or draw a random scene; change the number of slots, the iterations and sigma; hide a slot, move it,
or swap it for one of another picture. The page is for this machine alone, and asks nothing of the network.
"""

import argparse

from slotjax import cli
from slotjax.cli import trained


def main() -> None:
    arguments = parse()
    weights = arguments.weights or (None if arguments.workdir else "clevr6")
    trained.check(arguments.workdir, weights)
    from slotjax.demo import server  # after the flags, so that a wrong one is answered at once

    server.serve(arguments.workdir, weights, arguments.port, arguments.open)


def parse() -> argparse.Namespace:
    parser = cli.Parser("demo", __doc__)
    trained.add_flags(parser, "; clevr6 by default")
    parser.add_argument("--port", type=cli.integer(0, 65535), default=7860, help="of the page; 0: any that is free")
    parser.add_argument("--open", action="store_true", help="opens the page in a browser")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
