"""No key and no part of one gets into a record, a message or the screen, however it is quoted."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote

import pytest

from llmc import cli
from llmc.redaction.keys import Redaction, blot_keys, find_secrets, find_url_secrets, is_secret

KEY = "sk-proj-abQ7x0Zp9LmN3vR8tYwe5678wxyz"
GOOGLE = "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkF_Q8c"
PLAIN = "abcd1234-5678-90ab-cdef-4567efgh"
PASSWORD = "p@ss/w0rd"


def telling(text, secret):
    """Return the pieces of a secret of four characters and more that a text still shows."""
    text, secret = text.lower(), secret.lower()
    pieces = {secret[at : at + 4] for at in range(len(secret) - 3)}
    return sorted(
        piece for piece in pieces - {"sk-p", "k-pr", "-pro", "proj", "roj-"} if piece in text
    )


# -- what gives a secret away ----------------------------------------------------------------------


@pytest.mark.parametrize("secret", [KEY, GOOGLE, PLAIN])
@pytest.mark.parametrize(
    "quotation",
    [
        lambda key: key,
        str.upper,
        lambda key: f"x{key}y",
        lambda key: f"{key}{key}",
        lambda key: f"Bearer {key}",
        lambda key: f"{key[:14]}.",
        lambda key: f"the key {key[10:20]} is wrong",
        lambda key: f"{key[:4]}***********{key[-4:]}",
        lambda key: f"{key[:8]}****{key[-4:]}.",
        lambda key: f"'{key[:5]}...{key[-4:]}'",
        lambda key: f"{key[:4]}…{key[-3:]}",
        lambda key: f"{key[:4]} ... {key[-4:]}",
        lambda key: f"{key[:4]}••••{key[-4:]}",
        lambda key: f"{key[:4]}XXXXXXXX{key[-4:]}",
        lambda key: f"{key[:4]}<redacted>{key[-4:]}",
        lambda key: f"{key[:4]}[...]{key[-4:]}",
        lambda key: f"{key[:4]}****{key[16:20]}****{key[-4:]}",
        lambda key: f"your api key: ****{key[-4:]} is invalid",
        lambda key: f"{key[:4].upper()}****{key[-4:].upper()}",
        lambda key: "".join(f"%{ord(char):02x}" for char in key),
        lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
        lambda key: "".join(f"&#{ord(char)};" for char in key),
        lambda key: f"\\n{key[:4]}***{key[-4:]}\\n",
    ],
)  # fmt: skip
def test_a_key_is_blotted_out_however_it_is_quoted(secret, quotation):
    text = quotation(secret)
    blotted = blot_keys(f"before {text} after", [secret])
    assert telling(re.sub(r"%|\\u00|&#", "", blotted), secret) == []
    assert "***" in blotted
    assert blotted.startswith("before ")
    assert blotted.endswith(" after")


@pytest.mark.parametrize("text", [quote(PASSWORD, safe=""), PASSWORD.replace("/", "\\/"), PASSWORD])
def test_an_escaped_password_is_blotted_out_whole(text):
    assert blot_keys(f"at u:{text}@h", [PASSWORD]) == "at u:***@h"


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("user", ["", "u:", "me:", "user:", "someone:"])
@pytest.mark.parametrize("secret", [KEY, PASSWORD, "hunter2", "}?>~~~>?{}"])
def test_a_secret_within_base64_is_blotted_out(encode, user, secret):
    encoded = encode(f"{user}{secret}".encode()).decode()
    blotted = blot_keys(f"Basic {encoded}", [secret])
    shown = blotted.removeprefix("Basic ").replace("***", "")
    assert len(shown) <= len(b64encode(user.encode())) + 4, "its neighbours, and the last bits"


@pytest.mark.parametrize(
    "text",
    [
        "keys begin with sk-proj-, or with AIza",
        "the project is not there",
        "wait... then try again",
        "a **bold** word, f(*args, **words) and so on...",
        "ask github.com for a pattern",
        "100 % of 20 %41",
        "",
    ],
)
def test_ordinary_text_stays_as_it_is(text):
    secrets = [KEY, GOOGLE, PLAIN, PASSWORD, "github_pat_11ABCDE0Y0abcdefgh"]
    assert blot_keys(text, secrets) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key a1b2c3d4e5.", "key ***."),
        ("key a1b2c3-other-c3d4e5", "key ***-other-***"),
        ("1b2c3", "1b2c3"),
        ("a1b2c3d4e5a1b2c3d4e5", "***"),
    ],
)
def test_six_characters_of_a_secret_are_blotted_out(text, expected):
    assert blot_keys(text, ["a1b2c3d4e5"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the correct-horse-battery-staple", "the ***"),
        ("the correct-horse", "the ***"),
        ("corr****aple", "***"),
        ("a correct horse", "a correct horse"),
    ],
)
def test_of_a_secret_made_of_words_only_what_nobody_would_say_is_blotted_out(text, expected):
    assert blot_keys(text, ["correct-horse-battery-staple"]) == expected


# -- which values are secrets ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["", "none", "EMPTY", "ollama", "dummy", "local", "1234", "unused", "Ollama", "api-key"],
)
def test_a_word_in_the_place_of_a_key_is_no_secret(value):
    assert not is_secret(value)
    assert Redaction([value])(f"ollama: {value} is unused") == f"ollama: {value} is unused"


@pytest.mark.parametrize(
    "value", [KEY, GOOGLE, "hunter2", "s3cret", "sk-1234", "swordfish", "x" * 20]
)
def test_what_nobody_would_write_in_a_sentence_is_a_secret(value):
    assert is_secret(f"{value}\n")
    assert Redaction([f"{value}\n"])(f"bad key {value}!") == "bad key ***!"


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "openai_apikey", "HF_TOKEN", "PGPASSWORD", "GITHUB_PAT", "DB_PASS"]
)
def test_the_name_of_a_variable_tells_a_secret(name):
    assert find_secrets({name: KEY, "MODEL": "qwen2.5:7b", "KEYBOARD": "de-latin1"}) == (KEY,)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://me:hunter2@attic:11434", {"hunter2"}),
        ("http://me:p%40ss%2Fw0rd@attic", {"p%40ss%2Fw0rd", PASSWORD}),
        ("http://me:p@ss@attic/", {"p@ss"}),
        (f"https://{KEY}@attic", {KEY}),
        (f"https://attic/v1?key={KEY}&api-version=2024-10-21", {KEY}),
        ("https://attic/v1?v=1", set()),
        ("http://[::1", set()),
        ("http://[::1?key=abc12345", set()),
    ],
)
def test_an_address_tells_its_secrets(url, expected):
    assert set(find_url_secrets(url)) == expected


# -- from the server to the screen -----------------------------------------------------------------

SENTENCES = (
    "Incorrect API key provided: {key}.",
    "Incorrect API key provided: {head}***********{tail}. You can find it at example.com.",
    "key {head}…{tail} refused",
    "your api key: ****{tail} is invalid",
    "no such key: {part}",
    "{upper} in another case",
    "as {quoted} and {basic}",
)


def sentences(sent):
    """Return what a server may say of the key that it was sent in a header."""
    key = sent.rpartition(" ")[2]
    return [
        sentence.format(
            key=key,
            head=key[:7],
            tail=key[-4:],
            part=key[8:20],
            upper=key.upper(),
            quoted=quote(key, safe=""),
            basic=b64encode(f"user:{key}".encode()).decode(),
        )
        for sentence in SENTENCES
    ]


class Quoting(BaseHTTPRequestHandler):
    """Quotes the key it was sent, in another sentence and another kind of answer each time."""

    protocol_version = "HTTP/1.1"
    number = 0

    def do_GET(self):
        self.answer(404, "text/plain", " ".join(sentences(self.headers["Authorization"])))

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        said = sentences(self.headers["Authorization"])
        sentence = said[Quoting.number % len(said)]
        kind = Quoting.number // len(said) % 4
        Quoting.number += 1
        text = json.dumps({sentence: f"oh {sentence}"})
        if kind == 0:
            self.answer(400, "application/json", json.dumps({"error": {"message": sentence}}))
        elif kind == 1:
            self.answer(200, "text/event-stream", f"data: {json.dumps({'error': sentence})}\n\n")
        elif kind == 2:
            self.reply(text)
        else:
            self.reply(f"Sorry: {sentence} {{")

    def reply(self, text):
        body = {"choices": [{"message": {"content": text}}]}
        self.answer(200, "application/json", json.dumps(body))

    def answer(self, status, kind, text):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words):
        pass


@pytest.fixture
def gateway(clean_environ, monkeypatch):
    """Have the command ask a server that quotes the key it is sent."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quoting)
    Thread(target=server.serve_forever, daemon=True).start()
    Quoting.number = 0
    for name in ("OLLAMA_URL", "ENRICH_OLLAMA_HOSTS", "GEMINI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_MODEL", "m")
    yield
    server.shutdown()
    server.server_close()


def test_no_part_of_a_key_that_a_server_quotes_is_written_or_shown(repo, gateway, capsys):
    attempts = 4 * len(SENTENCES)
    spans = [f"def twice_{number}(x):\n    return {number} * x\n" for number in range(attempts)]
    (repo / "small.py").write_text("\n\n".join(spans))
    for _ in range(attempts):  # a refused key ends a run
        if Quoting.number < attempts:
            cli.main(["enrich", str(repo), "--backend", "gateway", "--retries", "1", "--verbose"])
    assert Quoting.number >= attempts, "each sentence came in each kind of answer"
    cli.main(["show", "--last", "40", "--repo", str(repo)])
    cli.main(["show", "small.py", "--repo", str(repo)])
    cli.main(["doctor", str(repo), "--backend", "gateway", "--trial-cloud"])
    told = capsys.readouterr()
    written = [path for path in repo.rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"enrichment_metrics.jsonl", "run_ledger.log"}
    everything = "".join(path.read_bytes().decode("latin-1") for path in written)
    assert "Incorrect API key provided: ***" in everything + told.out
    assert telling(everything + told.out + told.err, KEY) == []
