"""A small residual network for images of 28 to 224 pixels: half a million weights, for few images and few cores."""

from typing import Any

from worker.networks.residual import block, convolved

# Filters of the stages, each but the first of which halves the sides.
STAGES = (16, 32, 64, 96, 128)
# Pixels from which on the first layer halves them too.
LARGE_SIDE = 64
# Sides are not halved to less than that: the heat maps have as many cells.
LEAST_SIDE = 7


def build(rows: int, columns: int, channels: int, outputs: int) -> Any:
    """A block of two convolutions in each of five stages, GroupNorm, global average pooling and a dense layer.

    Takes float32 (batch, rows, columns, channels) and gives logits (batch, outputs).
    """
    import keras

    layers = keras.layers
    inputs = keras.Input((rows, columns, channels))
    side = min(rows, columns)
    stride = 2 if side >= LARGE_SIDE else 1
    values = layers.ReLU()(convolved(inputs, STAGES[0], 3, stride))
    side //= stride
    for filters in STAGES:
        stride = 2 if filters != STAGES[0] and side >= 2 * LEAST_SIDE else 1
        values = block(values, filters, stride)
        side //= stride
    return keras.Model(inputs, layers.Dense(outputs)(layers.GlobalAveragePooling2D()(values)))
