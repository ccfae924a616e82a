"""The parts of a report's page, in the order that a reader meets them."""
