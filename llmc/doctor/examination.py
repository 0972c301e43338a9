"""`llmc doctor`: would a run work here, and if not, what is in its way?

Everything is looked at and nothing is changed; one problem never hides another. It settles what a
run would use exactly as a run does, asks only the places that a run would ask, all at once, and
gives up on each after a bounded time. What it says holds no key, whoever quoted it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from llmc.doctor.configuration import examine_configuration
from llmc.doctor.findings import Examined, Finding, Report, State, find_unproved, weigh
from llmc.doctor.gateway import examine_endpoint
from llmc.doctor.local import examine_backend, examine_model, examine_program
from llmc.doctor.logs import examine_logs
from llmc.doctor.machine import examine_gpu, examine_index, examine_repository
from llmc.doctor.ollama import examine_host
from llmc.doctor.targets import Asked, list_asked, list_tiers
from llmc.errors import ConfigError
from llmc.net.places import is_this_machine
from llmc.records.ledger import metrics_path
from llmc.redaction.keys import Redaction
from llmc.run.gpu import is_local
from llmc.run.selection import select
from llmc.settings.config import Settings
from llmc.settings.documents import POLICY_FILE
from llmc.settings.environment import copy_environment, find_logs, locate_index
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.targets import find_namesakes

__all__ = ["Finding", "Report", "State", "Trials", "examine"]


_RUN = "a run"


@dataclass(frozen=True, slots=True)
class Trials:
    """Which places are asked for a trial reply: local models, and gateways, which may cost."""

    local: bool = True
    cloud: bool = False


def examine(
    repo: Path,
    flags: Flags | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    trials: Trials = Trials(),
) -> Report:
    """Look at everything that a run in `repo` depends on. `environ` is as in `load_settings`."""
    flags, repo = flags or Flags(), repo.resolve()
    try:
        settings = load_settings(repo, flags, environ)
        settings.require_trust()
    except ConfigError as error:
        broken = Finding("configuration", "settings", "fail", str(error))
        looked = examine_repository(repo, "", copy_environment(environ))
        index = locate_index(repo, environ)
        logs = find_logs(repo, index.path)
        rest = [*looked, *examine_index(index), *examine_logs(logs, repo, metrics_path(logs))]
        return Report((broken, *rest), readable=False)
    plan, settled = _settled(settings)
    # Which of several chains was meant is for the user to say: nobody is asked in their name.
    undecided = (
        settings.backend == "auto" and not settings.chain and settings.sources.chains_elsewhere
    )
    targets = [] if undecided else list_asked(settled)
    places = _examined(_looks(settled, targets, trials), targets)
    findings = [
        *examine_configuration(settings, flags, targets),
        *plan,
        *_untold(weigh(places), plan),
        *_gpu(settled, targets),
        *examine_repository(settings.repo, settings.exclude, settings.environ),
        *examine_index(settings.index),
        *examine_logs(settings.logs, settings.repo, settings.metrics_log),
    ]
    hide = Redaction(settings.secrets)
    asked = [tier for target in targets for tier in target.tiers]
    return Report(
        tuple(finding.told(hide) for finding in findings), unproved=find_unproved(places, asked)
    )


def _settled(settings: Settings) -> tuple[list[Finding], Settings]:
    """Settle what a run would use; if it would use nothing, go on with what is configured."""
    try:
        selection = select(settings)
    except ConfigError as error:
        return [Finding(_RUN, "would stop", "fail", str(error))], settings
    found: list[Finding] = []
    for line in selection.lines:
        name, text = line[:10].strip(), line[10:]
        if not name and found:
            before = found.pop()
            join = " " if before.detail.endswith(";") else "; "
            name, text = before.name, f"{before.detail}{join}{text}"
        found.append(Finding(_RUN, name, "info", text))
    served = {tier for target in list_asked(selection.settings) for tier in target.tiers}
    advice = "name an Ollama host in ENRICH_OLLAMA_HOSTS, or a chain entry for it in llmc.toml"
    for tier in list_tiers(selection.settings):
        if tier not in served:
            detail = f"nothing is configured for tier {tier}"
            found.append(Finding(_RUN, "would fail", "fail", detail, advice))
    advice = f'in {POLICY_FILE}, fallback_tier "14b" is the larger model'
    tier = selection.settings.router.policy.fallback_tier
    if tier in find_namesakes(selection.settings):
        detail = f"tier {tier} asks what 7b asks: a promotion there asks the same model again"
        found.append(Finding(_RUN, "promotes to", "warn", detail, advice))
    return found, selection.settings


def _untold(found: Sequence[Finding], before: Sequence[Finding]) -> list[Finding]:
    """Return what was found without the failures that were told before, word for word."""
    told = {finding.detail for finding in before if finding.state == "fail"}
    return [finding for finding in found if finding.state != "fail" or finding.detail not in told]


def _looks(
    settings: Settings, targets: Sequence[Asked], trials: Trials
) -> list[Callable[[], Examined]]:
    """Return one question per place: an Ollama host is one place however many models it has."""
    seconds = settings.health.timeout
    hosts: dict[str, list[Asked]] = {}
    looks: list[Callable[[], Examined]] = []
    for asked in targets:
        target = asked.target
        if target.provider == "ollama":
            hosts.setdefault(target.place, []).append(asked)
        elif target.provider == "openai":
            looks.append(partial(examine_endpoint, asked, seconds=seconds, trial=trials.cloud))
        elif target.provider == "command":
            looks.append(partial(examine_program, asked, trial=trials.cloud))
        elif target.provider == "llamacpp":
            looks.append(partial(examine_model, asked, trial=trials.local))
        else:
            local = target.row.kind == "process" or is_this_machine(target.place)
            looks.append(partial(examine_backend, asked, trial=trials.local and local))
    at_hosts = [
        partial(examine_host, group, seconds=seconds, trial=trials.local)
        for group in hosts.values()
    ]
    return [*at_hosts, *looks]


def _examined(looks: Sequence[Callable[[], Examined]], targets: Sequence[Asked]) -> list[Examined]:
    """Look everywhere at once; an interrupt ends the calls that are under way."""
    with ThreadPoolExecutor(max(1, len(looks))) as pool:
        try:
            return [future.result() for future in [pool.submit(look) for look in looks]]
        finally:
            for asked in targets:
                asked.builder.cancel()


def _gpu(settings: Settings, targets: Sequence[Asked]) -> list[Finding]:
    here = any(
        target.provider == "llamacpp" or (target.provider == "ollama" and is_local(target.place))
        for target in (asked.target for asked in targets)
    )
    return [examine_gpu(settings.search)] if here else []
