"""An address for people: whole, so that they see what is wrong with it, less what signs in."""

from __future__ import annotations

import re

from llmc.redaction.keys import BLOT, find_url_secrets, is_secret
from llmc.redaction.secrets.literals import is_random

_BEFORE_HOST = re.compile(r"^([a-z][a-z0-9+.-]*://)?[^/?#]*@", re.IGNORECASE)
_VALUE = re.compile(r"([?&;#][^=&;#]*=)([^&;#]*)")
_HARMLESS = ("api-version", "version")
"""What a query says openly."""


def blot_address(url: str) -> str:
    """Return a URL without user, password, values in its query, and parts that look drawn by lot.

    It may be broken: nothing is taken for granted but that an @ ends what signs in.
    """
    text = _BEFORE_HOST.sub(lambda found: f"{found[1] or ''}{BLOT}@", url)
    for secret in filter(is_secret, find_url_secrets(url)):
        text = text.replace(secret, BLOT)
    text = _VALUE.sub(
        lambda found: found[0] if found[1][1:-1] in _HARMLESS else f"{found[1]}{BLOT}", text
    )
    before, mark, query = text.partition("?")
    scheme, slashes, rest = before.rpartition("://")
    host, *parts = rest.split("/")
    path = (f"/{BLOT if is_random(part) else part}" for part in parts)
    return f"{scheme}{slashes}{host}{''.join(path)}{mark}{query}"
