"""Results on disk: a file for each piece of work, named by its content, written whole or not."""

import json
from pathlib import Path
from typing import Any

from setun.explore.evaluation import Done
from setun.explore.work import Work
from setun.firmware.outputs import make_folder, write_output
from setun.hw.fpga.flow.cache import digest

FOLDER = "points"
NAME = 32  # hex digits of the key


class Results:
    """What has been found, in a folder.

    Members
    -------
    damaged
        Files that were no results, so that their work is done again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        make_folder(self.folder)
        self.damaged: list[Path] = []
        self._read: dict[str, dict[str, Any]] = {}

    def path(self, work: Work) -> Path:
        """Where the result of `work` is, or will be."""
        return self.folder / f"{work.kind}-{work.key[:NAME]}.json"

    def get(self, work: Work) -> dict[str, Any] | None:
        """The result of `work`, None if there is none."""
        if work.key in self._read:
            return self._read[work.key]
        path = self.path(work)
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            found = None
        if not isinstance(found, dict) or not self._whole(found, work):
            if path not in self.damaged:
                self.damaged.append(path)
            return None
        result: dict[str, Any] = found["result"]
        self._read[work.key] = result
        return result

    @staticmethod
    def _whole(found: dict[str, Any], work: Work) -> bool:
        same = found.get("kind") == work.kind and found.get("inputs") == work.inputs
        result = found.get("result")
        return same and isinstance(result, dict) and found.get("check") == digest(result)

    def put(self, work: Work, done: Done) -> dict[str, Any]:
        """Keep a result, on disk if it is final; as it will be read back."""
        result: dict[str, Any] = json.loads(json.dumps(done.result))
        self._read[work.key] = result
        if done.final:
            content = {
                "kind": work.kind,
                "inputs": work.inputs,
                "result": result,
                "seconds": done.seconds,
                "check": digest(result),
            }
            write_output(self.path(work), (json.dumps(content, indent=1) + "\n").encode())
        return result
