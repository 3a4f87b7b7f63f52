"""Networks for images."""

from jaxdl.models.vision.lenet import LeNet5, lenet_c3_connections

__all__ = ["LeNet5", "lenet_c3_connections"]
