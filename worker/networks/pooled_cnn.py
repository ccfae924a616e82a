"""A small CNN whose head is pooling and one dense layer: its heat maps cost nothing more than a forward pass."""

from typing import Any


def build(rows: int, columns: int, channels: int, outputs: int) -> Any:
    """Four 3x3 convolutions, normalised, pooled twice, then the mean of each map and a dense layer.

    Takes float32 (batch, rows, columns, channels) and gives logits (batch, outputs). A cell of its last maps stands for
    4 by 4 pixels of the input, and sees 26 by 26.
    """
    import keras

    layers = keras.layers
    blocks: list[Any] = []
    for filters, is_pooled in ((16, True), (32, True), (48, False), (48, False)):
        blocks += [layers.Conv2D(filters, 3, padding="same", use_bias=False), layers.BatchNormalization(momentum=0.9)]
        blocks += [layers.ReLU(), *([layers.AveragePooling2D(2)] if is_pooled else [])]
    head = [layers.GlobalAveragePooling2D(), layers.Dense(outputs)]
    return keras.Sequential([keras.Input((rows, columns, channels)), *blocks, *head])
