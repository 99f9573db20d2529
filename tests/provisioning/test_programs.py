"""Programs of others, run to their end."""

from __future__ import annotations

import pytest

from b2dinspect.errors import ToolError
from b2dinspect.provisioning.programs import run_program
from tests.oracles import needs


@needs("mke2fs")
def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(ToolError, match=r"mke2fs failed: .+"):
        run_program("mke2fs", "/nonexistent/disk")
