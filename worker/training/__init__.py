"""From labelled instances to a model package."""
