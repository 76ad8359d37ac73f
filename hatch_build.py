"""Puts the bundle of all releases into wheel and sdist."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TemplateBundle(BuildHookInterface[Any]):
    """Made from the history of a checkout; an unpacked sdist has it already."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to the build, but not to an editable installation, which has a checkout."""
        root = Path(self.root)
        sys.path.insert(0, str(root / "src"))
        from fastpg_new import releases

        if version == "editable" or not (root / ".git").exists():
            return
        self._scratch = tempfile.TemporaryDirectory()
        scratch = Path(self._scratch.name)
        releases.bundle(root, scratch / releases.BUNDLE, scratch)
        package = "fastpg_new" if self.target_name == "wheel" else "src/fastpg_new"
        build_data["force_include"][str(scratch / releases.BUNDLE)] = f"{package}/{releases.BUNDLE}"
