"""What a config says of a pretrained backbone, and what its file says."""

from pathlib import Path

from ml_collections import ConfigDict

from slotjax.errors import UserError
from slotjax.nn import vit_weights

LEFT_OPEN = ("heads", "mean", "spread")  # no array tells; what a config sets stands


def identify(config: ConfigDict) -> None:
    """Fills in the architecture and the checksum of the file that `model.backbone.weights` names, if any.

    So a run's config tells the whole model without the file, and knows the file again.

    Raises:
      UserError: no such file, weights of another kind or patch size, or another file than the run has begun with.
    """
    model = config.get("model")
    backbone = model.get("backbone") if isinstance(model, ConfigDict) else None
    if not isinstance(backbone, ConfigDict) or not isinstance(backbone.get("weights"), str) or not backbone.weights:
        return  # what is wrong with it, if anything, `validate` says
    found = vit_weights.describe(backbone.weights, vit_weights.FIELD)
    found["weights"] = str(Path(found["weights"]).absolute())
    if found["patch"] != backbone.patch:
        raise UserError(
            f"model.backbone.patch={backbone.patch}: {backbone.weights} has patches of {found['patch']}; set it to "
            f"that, and model.resolution to multiples of it"
        )
    if backbone.sha256 not in ("", found["sha256"]):
        raise UserError(
            f"{vit_weights.FIELD}={backbone.weights}: is another file than this run has begun with (SHA-256 "
            f"{found['sha256'][:12]}..., not {backbone.sha256[:12]}...); give that one, or use another --workdir"
        )
    for name, value in found.items():
        if name not in LEFT_OPEN or not backbone[name]:
            backbone[name] = value
