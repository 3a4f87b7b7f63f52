"""Layers and pure layer functions."""

from jaxdl.nn.activations import (
    algebraic_sigmoid,
    bipolar_sigmoid,
    identity,
    log_softmax,
    log_sum_exp,
    log_sum_exp_plus,
    sigmoid,
    softmax,
    tanh,
)
from jaxdl.nn.attention import (
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
)
from jaxdl.nn.backward import (
    conv_backward,
    pool_backward,
    rnn_backward,
)
from jaxdl.nn.batch_normalization import (
    BatchNorm,
    ConditionalBatchNorm,
    minibatch_stddev,
)
from jaxdl.nn.blocks import (
    InceptionBlock,
    SkipConnection,
    SqueezeExcite,
    layer_outputs,
)
from jaxdl.nn.cells import (
    EchoStateCell,
    JordanCell,
    SimpleCell,
)
from jaxdl.nn.convolution import (
    Conv,
    GroupedConv,
    PartialConv,
)
from jaxdl.nn.cotangents import (
    gradient_clip_identity,
    gradient_reversal,
)
from jaxdl.nn.dense import (
    Dense,
    Sequential,
)
from jaxdl.nn.embedding import (
    Embed,
)
from jaxdl.nn.filtering import (
    circular_convolve,
    continuous_convolve,
    convolve,
    cross_correlate,
    deconvolve,
    fir_filter,
    pad,
)
from jaxdl.nn.gated_cells import (
    GRUCell,
    LSTMCell,
    MinimalGatedCell,
)
from jaxdl.nn.heads import (
    AttentionCache,
    MultiHeadAttention,
    create_attention_cache,
)
from jaxdl.nn.initializers import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    identity_init,
    lecun_normal,
    normal_init,
    orthogonal,
    torch_default_init,
    uniform_init,
    zeros_init,
)
from jaxdl.nn.kernels import (
    box_kernel,
    edge_kernel,
    gabor_kernel,
    gaussian_kernel,
    sharpen_kernel,
    sobel_x,
    sobel_y,
)
from jaxdl.nn.local_normalization import (
    LocalContrastNorm,
    LocalResponseNorm,
)
from jaxdl.nn.lstm_variants import (
    AttentionLSTMCell,
    ConvLSTMCell,
)
from jaxdl.nn.masked_convolution import (
    CausalConv,
    MaskedConv,
)
from jaxdl.nn.mixing import (
    cutmix,
    label_noise,
    label_smoothing,
    mixup,
)
from jaxdl.nn.normalization import (
    AdaptiveInstanceNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    PixelNorm,
    RMSNorm,
)
from jaxdl.nn.parametric import (
    Maxout,
    PolynomialUnit,
    PReLU,
    polynomial_features,
)
from jaxdl.nn.penalties import (
    elastic_net_penalty,
    jacobian_penalty,
    l1_penalty,
    l2_penalty,
    max_norm,
    soft_sharing_penalty,
)
from jaxdl.nn.pooling import (
    TrainableSubsampling,
    average_pool,
    global_average_pool,
    global_max_pool,
    max_pool,
    pool,
    sum_pool,
)
from jaxdl.nn.positions import (
    LearnedPositions,
    SinusoidalPositions,
    rotary_embedding,
    sinusoidal_embedding,
)
from jaxdl.nn.rectifiers import (
    elu,
    gelu,
    leaky_relu,
    mish,
    relu,
    selu,
    silu,
    softplus,
)
from jaxdl.nn.recurrent import (
    RNN,
    Bidirectional,
    StackedRNN,
)
from jaxdl.nn.recurrent_weights import (
    recurrent_params_from_torch,
    recurrent_params_to_torch,
)
from jaxdl.nn.regularization import (
    DropAll,
    DropConnect,
    Dropout,
    DropPath,
    GaussianNoise,
    classical_dropout,
    weight_noise,
)
from jaxdl.nn.reparametrization import (
    SpectralNorm,
    WeightNorm,
)
from jaxdl.nn.resampling import (
    upsample_bilinear,
    upsample_nearest,
)
from jaxdl.nn.residual import (
    InvertedResidualBlock,
    ResidualBlock,
)
from jaxdl.nn.scored_attention import (
    AdditiveAttention,
    MultiplicativeAttention,
)
from jaxdl.nn.separable import (
    DepthwiseConv,
    SeparableConv,
    SpatiallySeparableConv,
)
from jaxdl.nn.sequences import (
    reverse_sequences,
    sequence_mask,
)
from jaxdl.nn.shapes import (
    flatten,
    repeat_vector,
    unflatten,
)
from jaxdl.nn.sizes import (
    conv_output_size,
    conv_param_count,
    dense_param_count,
    padding_for_output,
    pixel_usage,
    pool_output_size,
    receptive_field,
    recurrent_param_count,
    same_padding,
    transposed_conv_output_size,
)
from jaxdl.nn.steps import (
    binary_step,
    bipolar_step,
    hard_sigmoid,
    hard_tanh,
    ramp,
    signum,
    three_level_step,
)
from jaxdl.nn.switches import (
    max_pool_with_switches,
    max_unpool,
)
from jaxdl.nn.transformer import (
    DecoderCache,
    FeedForward,
    TransformerDecoderBlock,
    TransformerEncoderBlock,
)
from jaxdl.nn.transposed import (
    ConvTranspose,
)

__all__ = [  # noqa: RUF022  (plain order; it would put RNN first, as a constant)
    "AdaptiveInstanceNorm",
    "AdditiveAttention",
    "AttentionCache",
    "AttentionLSTMCell",
    "BatchNorm",
    "Bidirectional",
    "CausalConv",
    "ConditionalBatchNorm",
    "Conv",
    "ConvLSTMCell",
    "ConvTranspose",
    "DecoderCache",
    "Dense",
    "DepthwiseConv",
    "DropAll",
    "DropConnect",
    "DropPath",
    "Dropout",
    "EchoStateCell",
    "Embed",
    "FeedForward",
    "GRUCell",
    "GaussianNoise",
    "GroupNorm",
    "GroupedConv",
    "InceptionBlock",
    "InstanceNorm",
    "InvertedResidualBlock",
    "JordanCell",
    "LSTMCell",
    "LayerNorm",
    "LearnedPositions",
    "LocalContrastNorm",
    "LocalResponseNorm",
    "MaskedConv",
    "Maxout",
    "MinimalGatedCell",
    "MultiHeadAttention",
    "MultiplicativeAttention",
    "PReLU",
    "PartialConv",
    "PixelNorm",
    "PolynomialUnit",
    "RMSNorm",
    "RNN",
    "ResidualBlock",
    "SeparableConv",
    "Sequential",
    "SimpleCell",
    "SinusoidalPositions",
    "SkipConnection",
    "SpatiallySeparableConv",
    "SpectralNorm",
    "SqueezeExcite",
    "StackedRNN",
    "TrainableSubsampling",
    "TransformerDecoderBlock",
    "TransformerEncoderBlock",
    "WeightNorm",
    "algebraic_sigmoid",
    "average_pool",
    "binary_step",
    "bipolar_sigmoid",
    "bipolar_step",
    "box_kernel",
    "causal_mask",
    "circular_convolve",
    "classical_dropout",
    "continuous_convolve",
    "conv_backward",
    "conv_output_size",
    "conv_param_count",
    "convolve",
    "create_attention_cache",
    "cross_correlate",
    "cutmix",
    "deconvolve",
    "dense_param_count",
    "edge_kernel",
    "elastic_net_penalty",
    "elu",
    "fir_filter",
    "flatten",
    "gabor_kernel",
    "gaussian_kernel",
    "gelu",
    "global_average_pool",
    "global_max_pool",
    "glorot_normal",
    "glorot_uniform",
    "gradient_clip_identity",
    "gradient_reversal",
    "hard_sigmoid",
    "hard_tanh",
    "he_normal",
    "he_uniform",
    "identity",
    "identity_init",
    "jacobian_penalty",
    "l1_penalty",
    "l2_penalty",
    "label_noise",
    "label_smoothing",
    "layer_outputs",
    "leaky_relu",
    "lecun_normal",
    "log_softmax",
    "log_sum_exp",
    "log_sum_exp_plus",
    "max_norm",
    "max_pool",
    "max_pool_with_switches",
    "max_unpool",
    "minibatch_stddev",
    "mish",
    "mixup",
    "normal_init",
    "orthogonal",
    "pad",
    "padding_for_output",
    "padding_mask",
    "pixel_usage",
    "polynomial_features",
    "pool",
    "pool_backward",
    "pool_output_size",
    "ramp",
    "receptive_field",
    "recurrent_param_count",
    "recurrent_params_from_torch",
    "recurrent_params_to_torch",
    "relu",
    "repeat_vector",
    "reverse_sequences",
    "rnn_backward",
    "rotary_embedding",
    "same_padding",
    "scaled_dot_product_attention",
    "selu",
    "sequence_mask",
    "sharpen_kernel",
    "sigmoid",
    "signum",
    "silu",
    "sinusoidal_embedding",
    "sobel_x",
    "sobel_y",
    "soft_sharing_penalty",
    "softmax",
    "softplus",
    "sum_pool",
    "tanh",
    "three_level_step",
    "torch_default_init",
    "transposed_conv_output_size",
    "unflatten",
    "uniform_init",
    "upsample_bilinear",
    "upsample_nearest",
    "weight_noise",
    "zeros_init",
]
