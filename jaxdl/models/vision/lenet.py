"""LeNet-5, the convolutional network that read the cheques.

Shapes: B batch, K classes. The input is a field of 32 x 32 pixels; smaller images are centred in it.
Source: LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998,
section II.B.
"""

from collections.abc import Callable

from flax import linen

from jaxdl import checks, nn
from jaxdl.nn.initializers import Initializer
from jaxdl.types import Array, Dtype

FIELD = 32


def lenet_c3_connections() -> tuple[tuple[bool, ...], ...]:
    """Which of the 16 maps of C3 see which of the 6 maps of S2: 6 rows of 16 truth values, 60 of them true.

    The first 6 maps see three neighbouring maps, counted in a circle, the next 6 see four, then 3 see two
    pairs, and the last sees all.

    Source: LeCun et al. 1998, table I.
    """
    threes = [{i, (i + 1) % 6, (i + 2) % 6} for i in range(6)]
    fours = [{(i + j) % 6 for j in range(4)} for i in range(6)]
    pairs = [{i, i + 1, (i + 3) % 6, (i + 4) % 6} for i in range(3)]
    columns = [*threes, *fours, *pairs, set(range(6))]
    return tuple(tuple(row in column for column in columns) for row in range(6))


class LeNet5(linen.Module):
    """Two convolutions with pooling, and three dense layers.

    32x32x1 - C1 28x28x6 - S2 14x14x6 - C3 10x10x16 - S4 5x5x16 - C5 120 - F6 84 - K. Kernels are 5x5, windows
    2x2. C5 is a 5x5 convolution of a 5x5 map, that is a dense layer on its 400 values.

    The paper squashes by a scaled tanh and averages with a trainable gain. The defaults are what replaced
    them, ReLU and maximum: gradients do not fade (8 epochs of Adam on MNIST: 99.1 % of the test digits against
    98.8 %, one seed), and on CPU a step is a little faster, as no exponential is computed for the 4,704 units
    of C1. `activation=nn.tanh, pool=nn.average_pool` is the paper's form.

    Attributes:
      num_classes: K.
      activation: after C1, C3, C5 and F6.
      pool: of S2 and S4, called as `pool(x, 2)`.
      sparse_c3: whether C3 is connected by the paper's table (60,806 parameters for 10 classes) or fully
        (61,706).
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial weights of every layer.
      bias_init: initial biases of every layer.

    Differs from the paper: pooling has no parameters, the squashing comes before the pooling alone, and the
    output is a linear layer, not distances to fixed bitmaps.
    """

    num_classes: int = 10
    activation: Callable[[Array], Array] = nn.relu
    pool: Callable[..., Array] = nn.max_pool
    sparse_c3: bool = False
    dtype: Dtype | None = None
    kernel_init: Initializer = nn.lecun_normal()
    bias_init: Initializer = nn.zeros_init()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps images float [B, n, n, C] to logits [B, K]. `train` changes nothing.

        n is 28, 30 or 32. Images below 32 x 32 get a frame of zeros, as MNIST's 28 x 28 digits do in the
        paper, so their background should be 0. Resize other images first.

        Raises:
          TypeError: x is not floating point.
          ValueError: x has another rank or size.
        """
        del train
        checks.rank(4, x=x)
        size = x.shape[1]
        if x.shape[2] != size or size not in (28, 30, 32):
            raise ValueError(f"x must have images of 28 x 28, 30 x 30 or 32 x 32 pixels, got shape {x.shape}")
        settings = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": self.bias_init}
        x = nn.Conv(6, 5, padding=(FIELD - size) // 2, **settings)(x)
        x = self.pool(self.activation(x), 2)
        if self.sparse_c3:
            x = nn.PartialConv(lenet_c3_connections(), 5, padding="VALID", **settings)(x)
        else:
            x = nn.Conv(16, 5, padding="VALID", **settings)(x)
        x = self.pool(self.activation(x), 2)
        x = nn.flatten(x)
        x = self.activation(nn.Dense(120, **settings)(x))
        x = self.activation(nn.Dense(84, **settings)(x))
        return nn.Dense(self.num_classes, **settings)(x)
