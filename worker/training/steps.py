"""What is computed in one step, as TensorFlow graphs: learning from a batch, and judging one."""

from typing import Any

from shared.model_contract import ModelContract
from worker.engines.keras import import_keras
from worker.training.peers import Peers
from worker.training.precision import scales

# Sums of these would be too coarse.
HALF = ("float16", "bfloat16")


def compiled(network: Any, optimizer: Any, contract: ModelContract, batch_size: int, peers: Peers) -> tuple[Any, Any]:
    """One step of learning, and what the network says of a batch with each example's loss.

    The first takes frames, classes and weights of this process's share and gives the sums over all processes of loss
    and weight. Where the optimizer scales the loss, a step whose gradients overflow anywhere changes nothing but the
    scale, in all processes alike.
    """
    import tensorflow as tf

    keras = import_keras()
    shape, from_logits = contract.input, contract.output == "logits"
    size = peers.share.size(batch_size)
    variables = network.trainable_variables
    # Such as the moving averages of a BatchNormalization: those of all processes become their mean.
    averages = [one for one in network.non_trainable_variables if keras.backend.is_float_dtype(one.dtype)]
    signature = (
        tf.TensorSpec((size, shape.rows, shape.columns, shape.channels), tf.float32),
        tf.TensorSpec((size,), tf.int64),
    )
    is_scaled = scales(optimizer)
    # Float16 holds the gradients of a mean where it does not hold those of a sum.
    divisor = batch_size if is_scaled else 1

    def losses(output: Any, classes: Any) -> Any:
        if keras.backend.standardize_dtype(output.dtype) in HALF:
            output = keras.ops.cast(output, "float32")
        if output.shape[-1] == 1:
            wanted = keras.ops.cast(classes, output.dtype)[:, None]
            return keras.ops.binary_crossentropy(wanted, output, from_logits=from_logits)[:, 0]
        return keras.ops.sparse_categorical_crossentropy(classes, output, from_logits=from_logits)

    def forward(frames: Any, *, training: bool) -> Any:
        return keras.tree.flatten(network(frames, training=training))[0]

    def settle(gradients: Any, before: Any, after: Any) -> None:
        optimizer.apply(gradients, variables)
        # The statistics of a batch that overflowed would stay among the averages for ever.
        is_kept = optimizer.check_finite(gradients) if is_scaled else True
        for average, old, new in zip(averages, before, after, strict=True):
            average.assign(tf.where(is_kept, new, old))

    def learn(frames: Any, classes: Any, weights: Any) -> Any:
        before = [tf.identity(one.value) for one in averages]
        with tf.GradientTape() as tape:
            found = losses(forward(frames, training=True), classes)
            counted = keras.ops.cast(weights, found.dtype)
            weight = keras.ops.sum(counted)
            loss = keras.ops.sum(found * counted)
            whole = loss + weight * sum(keras.ops.cast(one, loss.dtype) for one in network.losses)
            scaled = optimizer.scale_loss(whole / divisor)
        gradients = tape.gradient(scaled, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        loss, weight, *sums = peers.total([loss, weight, *gradients, *averages])
        after = [of_all / peers.share.count for of_all in sums[len(variables) :]]
        settle([of_all / (weight / divisor) for of_all in sums[: len(variables)]], before, after)
        return loss, weight

    def judge(frames: Any, classes: Any) -> Any:
        output = forward(frames, training=False)
        return output, losses(output, classes)

    weights = tf.TensorSpec((size,), tf.float32)
    return tf.function(learn, input_signature=(*signature, weights)), tf.function(judge, input_signature=signature)
