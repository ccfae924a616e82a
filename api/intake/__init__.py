"""A request's body becomes stored instances: received, unpacked, hashed, indexed (arrows 1 to 3)."""
