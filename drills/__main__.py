"""`python -m drills`: runs every drill with ten seeds and writes `docs/drills.md` and `docs/drills.json`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from drills.document import write
from oxherd.drills.catalogue import select
from oxherd.drills.drill import Drill

DOCS = Path(__file__).parents[1] / "docs"


async def run_one(drill: Drill, seed: int) -> dict[str, Any]:
    """Run one drill with one seed from the command line, as a user does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "oxherd", "drill", drill.name, "--seed", str(seed), "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    if out:
        return json.loads(out)
    message = error.decode(errors="replace").strip()[-300:] or f"exit status {process.returncode}"
    return {"drill": drill.name, "seed": seed, "ok": False, "wrong": [f"not carried out: {message}"]}


async def run_all(drills: list[Drill], seeds: int, jobs: int) -> list[dict[str, Any]]:
    """Run every drill with every seed, `jobs` at a time, the longest first."""
    pending = [(drill, seed) for drill in drills for seed in range(1, seeds + 1)]
    pending.sort(key=lambda each: -each[0].seconds)
    rows: list[dict[str, Any]] = []
    total = len(pending)

    async def work() -> None:
        while pending:
            drill, seed = pending.pop(0)
            row = await run_one(drill, seed)
            rows.append(row)
            verdict = "ok" if row["ok"] else "; ".join(row["wrong"])
            print(f"{len(rows):>4}/{total}  {drill.name:<24} seed {seed:>2}  {verdict}", flush=True)

    await asyncio.gather(*(work() for _ in range(jobs)))
    return rows


def main() -> int:
    """Run the drills and write the documents; the exit status is 1 if one was not as promised."""
    parser = argparse.ArgumentParser(prog="python -m drills", description=__doc__)
    parser.add_argument("names", nargs="*", default=["all"], help="drills or families (default: all)")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=3, help="how many to run at once")
    parser.add_argument("--out", type=Path, default=DOCS, help="the folder for drills.md and drills.json")
    options = parser.parse_args()
    drills = select(options.names)
    began = time.monotonic()
    rows = asyncio.run(run_all(drills, options.seeds, options.jobs))
    write(options.out, drills, rows, seeds=options.seeds, jobs=options.jobs, minutes=(time.monotonic() - began) / 60)
    wrong = sum(not row["ok"] for row in rows)
    print(f"{len(rows)} drills, {wrong} not as promised")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
