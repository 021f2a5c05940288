"""Batches of a stored data set, in which batch s is a pure function of (seed, s)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from slotjax.data.stored.base import Key, Stored


def batches(
    stored: Stored,
    *,
    seed: int,
    batch_size: int,
    start_step: int = 0,
    rows: slice | None = None,
    num_workers: int = 0,
) -> Iterator[dict]:
    """Endless batches from `start_step` on, every epoch in another order.

    Batch s holds the entries s * batch_size ... of an endless sequence of shuffled epochs, and what an entry draws at
    random comes from its place in that sequence (`Key`). So it depends on the seed and s alone: not on where the
    iteration started, on the workers, or on how many processes share the batch.

    Args:
      batch_size: of the global batch.
      rows: this process's part of the global batch (None: all of it).
      num_workers: threads that read ahead; 0 reads in the calling thread when asked. (Threads, not processes: reading,
        unpacking and decoding release the interpreter lock, and they work in any script.)
    """
    import grain

    first, last, _ = (rows or slice(None)).indices(batch_size)
    count = last - first
    if count < 1:
        raise ValueError(f"rows {rows} of a batch of {batch_size} are empty")
    order: Any = grain.MapDataset.range(len(stored)).shuffle(seed=seed % 2**32).repeat()

    def example(index: int, _: int) -> dict:
        step, row = divmod(index, count)
        position = (start_step + step) * batch_size + first + row
        return stored[order[position], Key(seed, position)]

    ahead = max(2 * count, num_workers) if num_workers else 0
    options = grain.ReadOptions(num_threads=num_workers, prefetch_buffer_size=ahead)
    examples = grain.MapDataset.range(1).repeat().map_with_index(example)
    return iter(examples.to_iter_dataset(options).batch(count, batch_fn=stack))


def eval_batches(stored: Stored, *, batch_size: int) -> Iterator[dict]:
    """Every example once, in order. The last batch is filled up with repeats; `valid` bool [b] marks the others."""
    for start in range(0, len(stored), batch_size):
        positions = np.arange(start, start + batch_size)
        valid = positions < len(stored)
        examples = [stored[i] for i in positions[valid]]
        examples += [examples[-1]] * int((~valid).sum())
        yield stack(examples) | {"valid": valid}


def stack(examples: Sequence[dict]) -> dict:
    """Examples of the same structure as one with a leading axis."""
    return {
        name: stack([example[name] for example in examples])
        if isinstance(value, dict)
        else np.stack([example[name] for example in examples])
        for name, value in examples[0].items()
    }
