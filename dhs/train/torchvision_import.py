"""Makes torchvision importable on any torch build; timm and torchmetrics import it, dhs does not use it.

The registry's torchvision (built for CUDA) fails to import beside a CPU-only torch: ``operator torchvision::nms does
not exist``. Declaring the schemas of the two operators that its Python code refers to is enough; they are never
called here. On a machine where torchvision is complete, or absent, nothing is declared.
"""

import importlib
import importlib.util
import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None


def make_torchvision_importable() -> None:
    """Import torchvision, declaring its operators' schemas first where the build lacks them."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare_operators()
        importlib.import_module("torchvision")


def _declare_operators() -> None:
    global _library  # the declarations live as long as this object
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        _library.define(schema)
