"""The small CNN of the demo and of quick tests."""

from typing import Any


def build(rows: int, columns: int, channels: int, outputs: int) -> Any:
    """Three 3x3 convolutions of 32, 64 and 64 filters, pooled twice, and two dense layers.

    Takes float32 (batch, rows, columns, channels) and gives logits (batch, outputs).
    """
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((rows, columns, channels)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(outputs),
        ]
    )
