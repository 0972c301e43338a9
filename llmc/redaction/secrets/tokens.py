"""Tokens that say by their first letters, or by their form, whose they are.

Each row: the rule's name, letters without which the pattern is not tried, the pattern. Prefixes and
lengths are as their makers publish them. A pattern that ends in an open run has nothing behind it,
and one that has something behind a run bounds it: so none is read twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = "[A-Za-z0-9]"
_URL = "[A-Za-z0-9_-]"


def _alone(letters: str, neighbours: str = "A-Za-z0-9_-") -> str:
    """Return a pattern for letters that don't go on to the left; an escaped line end may stand
    there. It begins with the letters, as they are searched for fastest so."""
    return rf"{letters}(?:(?<![{neighbours}]{letters})|(?<=\\[nrt]{letters}))"


_ROWS = (
    ("AWS key id", "AKIA", r"AKIA[A-Z0-9]{16}(?![A-Z0-9])"),
    ("AWS key id", "ASIA", r"ASIA[A-Z0-9]{16}(?![A-Z0-9])"),
    ("AWS Bedrock key", "ABSK", r"ABSK[A-Za-z0-9+/]{80,}={0,2}"),
    ("Alibaba key id", "LTAI", r"LTAI[A-Za-z0-9]{12,20}(?![A-Za-z0-9])"),
    ("Tencent key id", "AKID", r"AKID[A-Za-z0-9]{32}(?![A-Za-z0-9])"),
    ("GitHub token", "gh", rf"gh[pousr]_{_WORD}{{36,}}"),
    ("GitHub token", "github_pat_", r"github_pat_\w{22,}"),
    ("GitLab token", "gl", rf"gl(?:pat|oas|dt|rt|cbt|ptt|ft|imt|agent|soat|ffct)-{_URL}{{20,}}"),
    ("GitLab token", "GR1348941", rf"GR1348941{_URL}{{20,}}"),
    ("Bitbucket token", "ATBB", _alone("ATBB", "A-Za-z0-9+/") + rf"{_WORD}{{24,}}"),
    ("Atlassian token", "ATATT3", r"ATATT3[A-Za-z0-9_=-]{50,}"),
    ("Slack token", "xox", r"xox[abceoprs][.-][A-Za-z0-9.-]{10,}"),
    ("Slack token", "xapp-", r"xapp-\d-[A-Za-z0-9-]{20,}"),
    ("Slack webhook", "hooks.slack.com/", r"hooks\.slack\.com/[a-z]{1,12}/([A-Za-z0-9/+_-]{20,})"),
    ("Discord token", ".", _alone("[MNO]") + rf"{_URL}{{23,27}}\.{_URL}{{6}}\.{_URL}{{27,45}}"),
    ("Discord webhook", "/api/webhooks/", rf"/api/webhooks/\d{{1,20}}/({_URL}{{40,}})"),
    ("Telegram token", ":AA", rf"\d{{8,10}}:AA{_URL}{{33}}"),
    ("Stripe key", "k_", rf"[rs]k_(?:live|test|prod)_{_WORD}{{16,}}"),
    ("Stripe secret", "whsec_", r"whsec_[A-Za-z0-9+/]{24,}={0,2}"),
    ("Square token", "sq0", rf"sq0[a-z]{{3}}-{_URL}{{22,}}"),
    ("OpenAI, Anthropic or like key", "sk-", _alone("sk-") + rf"{_URL}{{24,}}"),
    ("Groq key", "gsk_", rf"gsk_{_WORD}{{40,}}"),
    ("xAI key", "xai-", rf"xai-{_WORD}{{60,}}"),
    ("Perplexity key", "pplx-", rf"pplx-{_WORD}{{40,}}"),
    ("Replicate token", "r8_", rf"r8_{_WORD}{{37,}}"),
    ("Hugging Face token", "hf_", rf"hf_{_WORD}{{30,}}"),
    ("Hugging Face token", "api_org_", rf"api_org_{_WORD}{{30,}}"),
    ("LangSmith key", "lsv2_", r"lsv2_[a-z]{2}_[0-9a-f]{32}_[0-9a-f]{10}"),
    ("Google key", "AIza", rf"AIza{_URL}{{35}}"),
    ("Google token", "ya29.", rf"ya29\.{_URL}{{20,}}"),
    ("Google client secret", "GOCSPX-", rf"GOCSPX-{_URL}{{24,}}"),
    ("Google refresh token", "1//0", rf"1//0{_URL}{{30,}}"),
    ("Azure client secret", "Q~", r"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{31,}"),
    ("Azure key", "Key=", r"(?:Account|SharedAccess)Key=([A-Za-z0-9+/]{40,}={0,2})"),
    ("Azure signature", "sig=", r"[?&;]sig=([A-Za-z0-9%+/]{40,}={0,2})"),
    ("npm token", "npm_", rf"npm_{_WORD}{{36,}}"),
    ("PyPI token", "pypi-", rf"pypi-{_URL}{{50,}}"),
    ("RubyGems key", "rubygems_", r"rubygems_[0-9a-f]{48}"),
    ("NuGet key", "oy2", _alone("oy2", "A-Za-z0-9") + r"[a-z0-9]{43}(?![A-Za-z0-9])"),
    ("Docker token", "dckr_", rf"dckr_[a-z]{{2,4}}_{_URL}{{27,}}"),
    ("SendGrid key", "SG.", rf"SG\.{_URL}{{16,32}}\.{_URL}{{32,64}}"),
    ("Mailgun key", "key-", _alone("key-") + r"[0-9a-f]{32}(?![0-9a-f])"),
    ("Mailchimp key", "-us", r"[0-9a-f]{32}-us\d{1,2}"),
    ("Brevo key", "xkeysib-", r"xkeysib-[0-9a-f]{64}-\w{16}"),
    ("Twilio key", "SK", _alone("SK", "A-Za-z0-9") + r"[0-9a-f]{32}(?![A-Za-z0-9])"),
    ("DigitalOcean token", "_v1_", r"do[opr]_v1_[0-9a-f]{64}"),
    ("Databricks token", "dapi", r"dapi[0-9a-f]{32}(?:-\d)?"),
    ("Vault token", "hv", rf"hv[sbr]\.{_URL}{{24,}}"),
    ("Terraform token", ".atlasv1.", rf"{_WORD}{{14}}\.atlasv1\.{_URL}{{60,}}"),
    ("Pulumi token", "pul-", r"pul-[0-9a-f]{40}"),
    ("Doppler token", "dp.", rf"dp\.[a-z]{{2,6}}\.{_WORD}{{40,}}"),
    ("Fly token", "fm", r"FlyV1 fm\d[a-z]?_[A-Za-z0-9+/=,_]{50,}"),
    ("Heroku key", "HRKU-", rf"HRKU-{_URL}{{30,}}"),
    ("Supabase key", "sb", r"sb(?:p_[0-9a-f]{40}|_secret_\w{20,})"),
    ("PlanetScale token", "pscale_", r"pscale_[a-z]{2,5}_[\w.-]{32,}"),
    ("Shopify token", "shp", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    ("Sentry token", "sntry", r"sntry[su]_[A-Za-z0-9+/=_-]{40,}"),
    ("Grafana token", "gl", r"gl(?:sa|c)_[A-Za-z0-9+/=_]{32,}"),
    ("New Relic key", "NR", r"NR(?:AK|JS|II)-[A-Za-z0-9_-]{20,}"),
    ("Postman key", "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    ("Linear key", "lin_api_", rf"lin_api_{_WORD}{{40,}}"),
    ("Notion token", "secret_", _alone("secret_") + rf"{_WORD}{{43}}(?!\w)"),
    ("Notion token", "ntn_", rf"ntn_{_WORD}{{40,}}"),
    ("Figma token", "figd_", rf"figd_{_URL}{{36,}}"),
    ("Airtable token", "pat", rf"pat{_WORD}{{14}}\.[0-9a-f]{{64}}"),
    ("Dropbox token", "sl.", _alone(r"sl\.", "A-Za-z0-9") + rf"{_URL}{{100,}}"),
    ("Facebook token", "EAA", _alone("EAA", "A-Za-z0-9+/") + rf"{_WORD}{{90,}}"),
    ("Tailscale key", "tskey-", rf"tskey-[a-z]{{2,8}}-{_URL}{{20,}}"),
    (
        "JSON web token",
        "eyJ",
        _alone("eyJ") + rf"{_URL}{{8,}}+\.eyJ{_URL}{{8,}}+(?:\.{_URL}*+)?",
    ),
)
_RULES = tuple((name, letters, re.compile(pattern)) for name, letters, pattern in _ROWS)

_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
_UNREAL = re.compile(r"(?i)xxxx|placeholder|redacted")
_FEWEST = 8
"""Different characters in a token that is one; `ghp_000000...` has fewer."""


def find(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield (rule, start, end) of each token; placeholders are left out."""
    aws = False
    for rule, letters, pattern in _RULES:
        if letters in text:
            for match in pattern.finditer(text):
                if _is_real(rule, match[0]):
                    aws = aws or rule.startswith("AWS")
                    yield rule, *match.span(pattern.groups)
    if aws:  # the secret that belongs to a key id has no form of its own
        for match in _AWS_SECRET.finditer(text):
            if any(map(str.isupper, match[0])) and any(map(str.islower, match[0])):
                yield "AWS secret key", *match.span()


def _is_real(rule: str, token: str) -> bool:
    if len(set(token)) < _FEWEST or _UNREAL.search(token):
        return False
    # Words joined by hyphens begin so as well: sk-estimator-doc-link is a class of style sheets.
    return not rule.startswith("OpenAI") or sum(map(str.isdigit, token)) > 1
