"""What models are trained for. A task is one file (its loss, its scores, its pictures) and one line in `TASKS`.

A task module has
  loss(model, params, batch, keys) -> (scalar, {name: scalar}), what training minimises;
  scores(model, params, batch, keys, num_true) -> {name: [b]}, one figure an image, NaN where an image has none;
  summary({name: [n]}) -> {name: float or None}, over the whole evaluation set;
  is_better(summary, best) -> bool, which of two evaluations found the better parameters;
  pictures(model, params, batch, keys) -> uint8 [h, w, 3], a contact sheet.
It may have
  TITLES, {figure: what people call it}, for reports;
  suspicion(summary) -> str or None, what to say when the figures look better than the result is.
"""

from types import ModuleType

from slotjax.tasks import discovery

TASKS: dict[str, ModuleType] = {"object_discovery": discovery}  # by config.model.name
