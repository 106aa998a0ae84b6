"""The command line as a user types it, in this process."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from regionmir.admin.main import main


@dataclass
class Terminal:
    """Runs `regionmir ...`; `out` and `err` are what it printed last."""

    monkeypatch: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: str) -> int:
        self.monkeypatch.setattr(sys, "argv", ["regionmir", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        self.out, self.err = self.captured.readouterr()
        return int(ended.value.code or 0)

    def json(self, *arguments: str) -> Any:
        assert self(*arguments, "--json") == 0, self.err
        return json.loads(self.out)
