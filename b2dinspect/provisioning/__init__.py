"""The companion that makes disks: every step of a provision, from the key pair to the login.

Stages are small functions from state to state that yield events; nothing in here prints.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """This package, callable: ``b2d.provision(...)`` is the function of ``b2dinspect.notebook``."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        import importlib

        return importlib.import_module("b2dinspect.notebook").provision(*args, **options)


sys.modules[__name__].__class__ = _Package
