"""Architectures: functions that build a Keras network, untrained."""
