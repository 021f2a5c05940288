"""Random parts of videos to train on, one for all frames of a clip, as SAVi++ has them (Elsayed et al., 2022).

The numbers are those of its program, which draws as Inception's training did: an aspect, and a height among those whose
area is within bounds, until enough is covered.
"""

import numpy as np

from slotjax.data.preprocess import Window

COVERED = 0.75  # of the frames, at least
AREAS = (0.08, 1.0)  # of the frames, between which heights are drawn
ASPECTS = (3 / 4, 4 / 3)  # width over height, in pixels
ATTEMPTS = 100  # after which the whole is kept


def random_window(height: int, width: int, generator: np.random.Generator) -> Window:
    """The part of frames of this size that is kept."""
    for aspect in generator.uniform(*ASPECTS, ATTEMPTS):
        lowest, highest = (round((area * height * width / aspect) ** 0.5) for area in AREAS)
        highest = min(highest, height, int(width / aspect))
        rows = int(generator.integers(min(lowest, highest), highest + 1))
        columns = min(round(rows * aspect), width)
        if rows * columns >= COVERED * height * width:
            top, left = (int(generator.integers(spare + 1)) for spare in (height - rows, width - columns))
            return top, top + rows, left, left + columns
    return 0, height, 0, width
