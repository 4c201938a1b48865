"""Known holes in the packages of this environment, where the index can say; else why not.

    python .ci/audit.py

Fails for a package with a known hole that a newer version mends.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        print(f"pip-audit skipped: the index could not be asked ({error!r}).")
        return 0
    asked = [one for one in packages if "skip_reason" not in one]
    if not asked:
        print(f"pip-audit skipped: the index here says nothing of any of {len(packages)} packages.")
        return 0
    holes = [(one, hole) for one in asked for hole in one["vulns"]]
    for one, hole in holes:
        print(f"{one['name']} {one['version']}: {hole['id']}, mended in {hole['fix_versions']}")
    print(f"pip-audit: {len(holes)} known hole(s) in {len(asked)} of {len(packages)} packages.")
    return int(any(hole["fix_versions"] for _, hole in holes))


if __name__ == "__main__":
    sys.exit(main())
