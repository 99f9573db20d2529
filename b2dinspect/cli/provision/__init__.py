"""The ``b2dprovision`` program: one module a command."""
