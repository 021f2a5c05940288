"""Tetrominoes: three Tetris pieces on black, 35x35 (after Kabra et al., 2019, multi-object datasets)."""

import jax
import jax.numpy as jnp
import numpy as np

from slotjax.data.scenes.draw import Uniform
from slotjax.data.scenes.scene import Scene

CELL, CELLS, PIECES = 5, 7, 3  # pixels a cell, cells a side, pieces a scene
PROPOSALS = 64  # placements tried at once; a pair of pieces that still overlap then is beyond one in a million
COLORS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float32)

_DRAWN = {  # turned by quarters; S stands for both zigzags, which makes 17 distinct shapes and orientations
    "I": ["####"],
    "O": ["##", "##"],
    "S": [".##", "##."],
    "T": ["###", ".#."],
    "L": ["#.", "#.", "##"],
    "J": [".#", ".#", "##"],
}


def _turns(rows: list[str]) -> list[np.ndarray]:
    cells = np.array([[c == "#" for c in row] for row in rows])
    turns = {np.rot90(cells, i).tobytes() + bytes(np.rot90(cells, i).shape): np.rot90(cells, i) for i in range(4)}
    return list(turns.values())


def _shapes() -> tuple[np.ndarray, np.ndarray]:
    """Every piece in the corner of a 4x4 box, bool [17, 4, 4], and its extent in cells, int [17, 2]."""
    turns = [turn for rows in _DRAWN.values() for turn in _turns(rows)]
    boxes = [np.pad(turn, ((0, 4 - turn.shape[0]), (0, 4 - turn.shape[1]))) for turn in turns]
    return np.stack(boxes), np.array([turn.shape for turn in turns])


SHAPES, EXTENTS = _shapes()


def tetrominoes(key: jax.Array) -> Scene:
    """Three pieces that do not overlap, out of 17 shapes and orientations, in six colours, on black.

    Returns:
      `Scene` of 35x35; objects: shape (0..16), color [3] in {0, 1}, x and y (centre of the bounding box, pixels),
      present (all True).
    """
    draw = Uniform(key, PIECES * (2 + 2 * PROPOSALS))
    shape = draw.integers((PIECES,), len(SHAPES))
    color = jnp.asarray(COLORS)[draw.integers((PIECES,), len(COLORS))]
    extent = jnp.asarray(EXTENTS)[shape]
    corners = draw.integers((PROPOSALS, PIECES, 2), CELLS - extent + 1)
    boards = jax.vmap(jax.vmap(_board), in_axes=(None, 0))(jnp.asarray(SHAPES)[shape], corners)  # [p, 3, 7, 7]
    fits = boards.sum(1).max((1, 2)) <= 1
    corner, board = corners[fits.argmax()], boards[fits.argmax()]
    ids = (board * jnp.arange(1, PIECES + 1)[:, None, None]).max(0)
    segments = jnp.repeat(jnp.repeat(ids, CELL, 0), CELL, 1).astype(jnp.int32)
    palette = jnp.concatenate([jnp.zeros((1, 3)), color])
    centre = (corner + extent / 2) * CELL
    objects = {
        "shape": shape,
        "color": color,
        "x": centre[:, 1],
        "y": centre[:, 0],
        "present": jnp.ones(PIECES, bool),
    }
    return Scene(image=palette[segments] * 2 - 1, segments=segments, objects=objects)


def _board(cells: jax.Array, corner: jax.Array) -> jax.Array:
    """One piece on the board: cells [4, 4] at corner (row, column) -> int [7, 7]."""
    board = jnp.zeros((CELLS + 3, CELLS + 3), jnp.int32)
    return jax.lax.dynamic_update_slice(board, cells.astype(jnp.int32), corner)[:CELLS, :CELLS]
