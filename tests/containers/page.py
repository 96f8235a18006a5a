"""The files of docs/docker.md."""

from __future__ import annotations

import re

from tests.containers.image import ROOT

PAGE = (ROOT / "docs" / "docker.md").read_text()
FILES = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
