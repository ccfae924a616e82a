"""A residual network of eighteen layers for images of 28 to 224 pixels (He et al., doi:10.1109/CVPR.2016.90)."""

from typing import Any

from worker.networks.residual import block, convolved

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
BLOCKS_A_STAGE = 2
# Pixels from which on the first layers halve twice, as in the original for 224; smaller images keep their size.
LARGE_SIDE = 64


def build(rows: int, columns: int, channels: int, outputs: int) -> Any:
    """Two blocks of two convolutions in each of four stages, GroupNorm, global average pooling and a dense layer.

    Takes float32 (batch, rows, columns, channels) and gives logits (batch, outputs).
    """
    import keras

    layers = keras.layers
    inputs = keras.Input((rows, columns, channels))
    large = min(rows, columns) >= LARGE_SIDE
    values = convolved(inputs, STAGES[0][0], 7 if large else 3, 2 if large else 1)
    values = layers.ReLU()(values)
    if large:
        values = layers.MaxPooling2D(3, 2, padding="same")(values)
    for filters, stride in STAGES:
        for number in range(BLOCKS_A_STAGE):
            values = block(values, filters, stride if number == 0 else 1)
    return keras.Model(inputs, layers.Dense(outputs)(layers.GlobalAveragePooling2D()(values)))
