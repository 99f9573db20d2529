"""``python -m b2dinspect`` is the command line."""

from b2dinspect.cli.main import run

run()
