"""What models are trained for. A task is one file (its loss, its scores, its pictures) and one line in `TASKS`.

A task module has
  FIELDS: the names in a batch that training needs; "objects" is a dict of arrays of its own;
  TITLES: {figure: what people call it}, in the order in which they are shown;
  NEXT: what to run after training, to be formatted with the workdir;
  check(config, example) -> None, a `UserError` where the data (shapes of one example) do not serve the task;
  build_loss(model, config.train) -> loss(params, batch, keys) -> (scalar, {name: scalar}), what training minimises;
  scores(model, params, batch, keys, num_true, **options) -> {name: [b, ...]}, figures (or whatever the summary needs)
    for each image, NaN where an image has none; `options` are those of `slotjax.apply`;
  summary({name: [n, ...]}) -> {name: float or None}, over the whole evaluation set, with `num_images`;
  is_better(summary, best) -> bool, which of two evaluations found the better parameters;
  studies(config) -> [Study], further evaluations of a trained model under other conditions;
  table(summary, {title: summary}) -> str, how an evaluation and its studies read;
  collapse(summary) -> str or None, what to say, during training too, when the slots do not share the work;
  suspicion(summary) -> str or None, what to say when the figures look better than the result is;
  pictures(model, params, batch, keys) -> uint8 [h, w, 3], a contact sheet;
  panels(batch, out) -> {"truth" or "predicted": uint8 [b, h, w, 3]}, what a report shows besides what slots draw.
"""

from types import ModuleType

from slotjax.tasks import discovery, set_prediction

TASKS: dict[str, ModuleType] = {"object_discovery": discovery, "set_prediction": set_prediction}  # by config.model.name
