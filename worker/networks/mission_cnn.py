"""The small CNN of the demo and of quick tests."""

from typing import Any

# Of a smaller image three convolutions and two poolings leave nothing.
LEAST_SIDE = 18


def build(rows: int, columns: int, channels: int, outputs: int) -> Any:
    """Three 3x3 convolutions of 32, 64 and 64 filters, pooled twice, and two dense layers.

    Takes float32 (batch, rows, columns, channels) and gives logits (batch, outputs).

    Raises ValueError where an image is smaller than LEAST_SIDE.
    """
    import keras

    if min(rows, columns) < LEAST_SIDE:
        raise ValueError(f"it takes images of {LEAST_SIDE} x {LEAST_SIDE} and larger ones; use a larger input")

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
