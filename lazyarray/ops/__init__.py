"""The operations: one place for each, with type rule, kernel, gradient and docstring."""
