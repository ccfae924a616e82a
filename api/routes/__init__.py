"""The API's routes, a blueprint per noun."""
