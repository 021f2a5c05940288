"""python -m slotjax.segment --workdir DIR IMAGE... or --weights NAME IMAGE...: splits your own pictures into slots.

IMAGE is a picture, a folder of pictures, or a pattern such as 'photos/*.jpg'. The model sees the whole picture, resized
to what it was trained on; what is found is drawn at the picture's own size:
  NAME_overlay.png   the picture in grey, tinted by slot
  NAME_segments.png  each pixel's slot, as numbers 0, 1, 2, ... with the same colours
  NAME_segments.npz  the same as an array, `segments`
  NAME_slots.png     what the model saw and what every slot draws
  NAME_slot_0.png    with --cutouts: what slot 0 takes of the picture, on transparency; and so on
Where the model is of videos, IMAGE is a GIF, WebP, MP4, ... or a folder of these or of frames, and the overlay,
NAME_overlay.webp, is animated.
"""

import argparse
import glob
from pathlib import Path

from slotjax import cli
from slotjax.cli import trained
from slotjax.errors import UserError
from slotjax.system.writing import check_folder


def main() -> None:
    arguments = parse()
    output = arguments.output or (arguments.workdir or Path()) / "segments"
    if not arguments.list:
        trained.check(arguments.workdir, arguments.weights)
        if not arguments.images:
            raise UserError("IMAGE is missing: name the pictures to split")
        if not any(path.exists() or glob.has_magic(str(path)) for path in arguments.images):
            raise UserError(f"{arguments.images[0]}: no such file; name pictures, folders, or patterns in quotes")
        check_folder(output, f"--output {output}")
    from slotjax.models import VideoDiscovery  # after the flags, so that a wrong one is answered at once
    from slotjax.reporting import own_pictures, own_videos

    if arguments.list:
        print(own_pictures.listing())
        return
    subject = own_pictures.open_trained(arguments.workdir, arguments.weights)
    options = own_pictures.Options(
        num_slots=arguments.num_slots,
        num_iterations=arguments.num_iterations,
        seed=arguments.seed,
        sigma=arguments.sigma,
        masks=arguments.masks,
        crop=arguments.crop,
        cutouts=arguments.cutouts,
    )
    split = own_videos if isinstance(subject.model, VideoDiscovery) else own_pictures
    split.segment(subject, arguments.images, output, options)


def parse() -> argparse.Namespace:
    parser = cli.Parser("segment", __doc__)
    trained.add_flags(parser)
    parser.add_argument("--list", action="store_true", help="says which weights come with the library")
    parser.add_argument("images", metavar="IMAGE", nargs="*", type=cli.path, help="PNG, JPEG, ... of any size")
    parser.add_argument(
        "--output", type=cli.path, help="folder for the results; DIR/segments, or with --weights ./segments"
    )
    parser.add_argument(
        "--crop", action="store_true", help="take the largest part in the middle that has the model's proportions"
    )
    parser.add_argument("--cutouts", action="store_true", help="also write one picture a slot, transparent elsewhere")
    parser.add_argument(
        "--masks",
        choices=("posterior", "decoder"),
        default="posterior",
        help="posterior: a pixel goes to the slot that explains it best, its mask and its colour taken together; "
        "decoder: to the slot whose mask is largest, as in the paper, smooth but never finer than the model",
    )
    parser.add_argument(
        "--sigma",
        type=cli.number(1e-3, 1e3),
        default=0.3,
        help="posterior: how far a slot's colour may be off, of the range from -1 to 1; 0.3 by default, less follows "
        "colour more closely, more the masks",
    )
    parser.add_argument("--num-slots", type=cli.integer(1, 256), help="another number than in training")
    parser.add_argument("--num-iterations", type=cli.integer(1, 1000), help="another number than in training")
    parser.add_argument("--seed", type=cli.integer(0, 2**63 - 1), default=0, help="of the slots' draw")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
