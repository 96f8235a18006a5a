"""`oxherd doctor`: runs every check, and prints a line on what is wrong and a line on what to do."""

from __future__ import annotations

from collections.abc import Sized

from oxherd.app import Oxherd
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_styled
from oxherd.cli.shown.json_lines import write_json
from oxherd.cli.shown.screen import Style, folded, screen_of
from oxherd.doctor import Facts, Finding, findings_of, read_facts
from oxherd.errors import RedisUnavailable, ServerError

_REMEDIES = {
    "auth": "put the password that is valid now into OXHERD_URL (percent-encoded), here and for the workers; "
    "rights are listed in docs/operations.md",
    "cluster": "CLUSTER INFO and CLUSTER NODES on one of its nodes say what is down",
}
_START_IT = "start the server, or correct OXHERD_URL, and see what lies between (DNS, firewall, TLS)"


def run(target: str, *, json: bool) -> int:
    """Print what is found; returns 1 if that is anything, else 0."""
    facts: Facts | None = None

    async def read(herd: Oxherd) -> Facts:
        return await read_facts(herd, target)

    try:
        facts = with_herd(target, read)
    except (RedisUnavailable, ServerError) as error:
        source = error.source if isinstance(error, RedisUnavailable) else "connect"
        findings = [Finding("server", str(error).rstrip("."), _REMEDIES.get(source, _START_IT))]
    else:
        findings = list(findings_of(facts))
    if json:
        for finding in findings:
            write_json(finding)
    else:
        _print(findings, facts)
    return 1 if findings else 0


def _print(findings: list[Finding], facts: Facts | None) -> None:
    screen = screen_of()
    for finding in findings:
        for line in folded(f"{finding.what}.", screen.width, indent="  "):
            write_styled(screen.styled(line, Style.WRONG))
        for line in folded(finding.remedy, screen.width, "  -> ", "     "):
            write_styled(line)
    if not findings and facts is not None:
        nodes = ", ".join(server.node for server in facts.servers)
        seen = f"{_counted(facts.events, 'event')}, {_counted(facts.workers, 'worker')}"
        text = f"Nothing is found wrong: {seen}, {nodes}."
        for line in folded(text, screen.width):
            write_styled(screen.styled(line, Style.GOOD))


def _counted(things: Sized, what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"
