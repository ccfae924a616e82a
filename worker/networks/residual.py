"""What residual networks are built of (He et al., doi:10.1109/CVPR.2016.90)."""

from typing import Any

# GroupNorm's statistics are of one image: they are the same however a batch is split over workers.
NUM_GROUPS = 8


def convolved(values: Any, filters: int, size: int, stride: int) -> Any:
    """A convolution without a bias, which GroupNorm would take away, and GroupNorm."""
    import keras

    values = keras.layers.Conv2D(filters, size, stride, padding="same", use_bias=False)(values)
    return keras.layers.GroupNormalization(NUM_GROUPS)(values)


def block(values: Any, filters: int, stride: int) -> Any:
    """Two convolutions beside a way past them, which is one of 1 by 1 where sides or filters change."""
    import keras

    inner = keras.layers.ReLU()(convolved(values, filters, 3, stride))
    inner = convolved(inner, filters, 3, 1)
    if stride != 1 or values.shape[-1] != filters:
        values = convolved(values, filters, 1, stride)
    return keras.layers.ReLU()(keras.layers.Add()([values, inner]))
