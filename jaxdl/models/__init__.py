"""Networks by family: `from jaxdl.models.vision import LeNet5`."""
