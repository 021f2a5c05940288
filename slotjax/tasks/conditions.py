"""A trained model scored under other conditions than it was trained in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ml_collections import ConfigDict

Figures = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Study:
    """One pass over held-out images, and the rows of the table that it gives.

    Attributes:
      config: which images; all but its data are the run's.
      options: of the task's `scores`.
      rows: the pass's figures -> {title: figures of this row}.
    """

    config: ConfigDict
    rows: Callable[[Figures], dict[str, Figures]]
    options: dict[str, Any] = field(default_factory=dict)
