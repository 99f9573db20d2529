"""``python -m b2dinspect.cli.provision`` is ``b2dprovision``."""

from b2dinspect.cli.provision.main import run

run()
