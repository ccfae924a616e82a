"""The only home of TensorFlow and Keras: claims shards, runs CNNs, commits predictions."""
