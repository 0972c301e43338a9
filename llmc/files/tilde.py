"""`~` in a path that no shell has seen: from a settings file, a variable, or behind a `=`."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

from llmc.errors import ConfigError


def expand(text: str, environ: Mapping[str, str], name: str) -> str:
    """Return a path with the home that a `~` or `~user` at its beginning stands for.

    `name` is of the setting. Raises ConfigError if there is no such user, or no home. A file whose
    own name begins so is written `./~name`.
    """
    user, slash, rest = text.partition("/")
    if not user.startswith("~"):
        return text
    try:
        if user == "~":
            home = environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
        else:
            home = pwd.getpwnam(user[1:]).pw_dir
    except (KeyError, ValueError):
        raise ConfigError(
            f"{name} is {text!r}, and nobody here is called {user[1:]!r}; write the whole path, or "
            f"./{text} if that is its name"
        ) from None
    return f"{home.rstrip('/')}{slash}{rest}"
