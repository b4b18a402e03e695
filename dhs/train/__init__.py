"""Training: preprocess -> network, as a Lightning module over the injection stream."""

from dhs.train.torchvision_import import make_torchvision_importable

make_torchvision_importable()  # before Lightning's torchmetrics or timm asks for it
