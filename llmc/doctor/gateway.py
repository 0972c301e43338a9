"""A gateway: an OpenAI-compatible server, asked for its models and, if wanted, for one reply."""

from __future__ import annotations

import time

from llmc.doctor.findings import Examined, Finding, Note, tell_seconds
from llmc.doctor.lookup import Answer, ask
from llmc.doctor.targets import Asked
from llmc.doctor.trial import leave_untried, try_model
from llmc.net.client import Client
from llmc.settings.targets import Key, Target


def examine_endpoint(asked: Asked, *, seconds: float, trial: bool) -> Examined:
    """Look at one OpenAI-compatible server; `seconds` bounds the look, not the trial."""
    target = asked.target
    section = "gateway" if target.name == "gateway" else f"gateway {target.name}"
    if asked.problem:
        return Examined((Note(Finding(section, "settings", "fail", asked.problem)),))
    section = f"{section} ({target.address})" if target.name == "gateway" else section
    started = time.monotonic()
    answer = _models(target, started + seconds)
    took = tell_seconds(time.monotonic() - started)
    if answer.status == 0 or (300 <= answer.status < 600 and answer.status not in _TELLING):
        why = answer.problem or f"answers HTTP {answer.status} when asked for its models"
        finding = Finding(
            section, "reachable", "fail", f"{why} (after {took})", "check the base URL"
        )
        return Examined((Note(finding, asked.tiers),))
    findings = [Finding(section, "reachable", "ok", f"in {took}")]
    key = _key(section, asked, answer)
    findings.append(key)
    usable = key.state != "fail"
    if usable:
        findings.append(_model(section, target, answer))
    if usable and trial:
        finding, usable = try_model(asked, section)
        findings.append(finding)
    elif usable:
        findings.append(leave_untried(section))
    notes = tuple(Note(finding, asked.tiers) for finding in findings)
    return Examined(notes, frozenset(asked.tiers if usable else ()))


_TELLING = (401, 403, 404, 405, 429)
"""Statuses that come from a working server: a list of models is not for everyone, or not there."""


def _models(target: Target, deadline: float) -> Answer:
    base, _, query = target.place.partition("?")
    deployment = base.partition("/openai/deployments/")
    if deployment[1]:
        url = f"{deployment[0]}/openai/models" + (f"?{query}" if query else "")
    else:
        url = f"{base.removesuffix('/chat/completions')}/models"
    headers = {}
    key = target.key or Key()
    if key.secret:
        secret = key.secret.get_secret_value()
        bearer = key.header == "authorization"
        headers[key.header] = f"Bearer {secret}" if bearer else secret
    client = Client()
    try:
        return ask(client, url, deadline, headers=headers)
    finally:
        client.close()


def _key(section: str, asked: Asked, answer: Answer) -> Finding:
    is_set = asked.has_key
    name = asked.key_name or "no key variable named"
    if answer.status in (401, 403):
        if is_set:
            detail = f"{name} is set, but refused (HTTP {answer.status})"
            return Finding(section, "key", "fail", detail, f"check {name}")
        advice = f"export {name}" if asked.key_name else "name its variable: api_key_env"
        return Finding(section, "key", "fail", "not set, and the server asks for one", advice)
    if not is_set:
        return Finding(section, "key", "info", "not set; the server did not ask for one")
    if answer.ok:
        return Finding(section, "key", "ok", f"{name} is set, and not refused")
    detail = f"{name} is set; this look does not tell if it is accepted"
    return Finding(section, "key", "info", detail)


def _model(section: str, target: Target, answer: Answer) -> Finding:
    names = [str(entry.get("id")) for entry in answer.entries("data")]
    wanted = target.model
    if not answer.ok or not names:
        return Finding(section, "model", "info", f"{wanted}; the server lists no models")
    if wanted in names or f"models/{wanted}" in names:
        return Finding(section, "model", "ok", f"{wanted}: listed")
    if "/openai/deployments/" in target.place:
        return Finding(section, "model", "info", f"{wanted}; deployments are not listed")
    detail = f"{wanted} is not among the {len(names)} listed: {', '.join(names[:6])}"
    detail += ", …" if len(names) > 6 else ""
    return Finding(section, "model", "warn", detail, "correct the model's name if replies fail")
