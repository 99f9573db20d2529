"""``python -m sample_images [DIR]`` rebuilds all samples, packed, and their hashes in the manifest."""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path

from b2dinspect.evidence import open_evidence
from b2dinspect.newfile import NewFile
from sample_images.recipes import HERE, RECIPES, build, digest


def rebuild(folder: Path) -> None:
    """Write every sample and the manifest into ``folder``; what people wrote in the manifest stays."""
    manifest = json.loads((HERE / "manifest.json").read_text())
    for name in RECIPES:
        entry = manifest["samples"][name]
        with tempfile.TemporaryDirectory(prefix="b2d-sample-") as scratch:
            image = Path(scratch) / name
            build(name, image)
            packed = gzip.compress(image.read_bytes(), 9, mtime=0)
            source = open_evidence(str(image))
            entry["sha256"], entry["size"] = digest(source), source.size
            source.close()
        with NewFile(folder / f"{name}.gz", force=True) as file:
            file.pwrite(0, packed)
        print(f"{name}.gz: {len(packed):,} bytes, unpacked {entry['size']:,}")
    with NewFile(folder / "manifest.json", force=True) as file:
        file.pwrite(0, (json.dumps(manifest, indent=2) + "\n").encode())


rebuild(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
