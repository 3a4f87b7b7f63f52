"""Layers and pure layer functions."""

from jaxdl.nn.activations import (
    bipolar_sigmoid,
    identity,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    softmax,
    softplus,
    tanh,
)
from jaxdl.nn.convolution import Conv, PartialConv
from jaxdl.nn.dense import Dense, Dropout, Sequential, flatten
from jaxdl.nn.initializers import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    normal_init,
    torch_default_init,
    uniform_init,
    zeros_init,
)
from jaxdl.nn.pooling import (
    average_pool,
    global_average_pool,
    global_max_pool,
    max_pool,
    pool,
    sum_pool,
)
from jaxdl.nn.sizes import conv_output_size, conv_param_count, dense_param_count, pool_output_size

__all__ = [
    "Conv",
    "Dense",
    "Dropout",
    "PartialConv",
    "Sequential",
    "average_pool",
    "bipolar_sigmoid",
    "conv_output_size",
    "conv_param_count",
    "dense_param_count",
    "flatten",
    "global_average_pool",
    "global_max_pool",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "leaky_relu",
    "lecun_normal",
    "log_softmax",
    "max_pool",
    "normal_init",
    "pool",
    "pool_output_size",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "sum_pool",
    "tanh",
    "torch_default_init",
    "uniform_init",
    "zeros_init",
]
