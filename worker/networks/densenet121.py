"""DenseNet-121 as Keras has it (G. Huang et al., DOI 10.1109/CVPR.2017.243), with random weights."""

from typing import Any


def build(rows: int, columns: int, channels: int, outputs: int) -> Any:
    """Takes float32 (batch, rows, columns, channels) and gives logits (batch, outputs)."""
    import keras

    shape = (rows, columns, channels)
    return keras.applications.DenseNet121(weights=None, input_shape=shape, classes=outputs, classifier_activation=None)
