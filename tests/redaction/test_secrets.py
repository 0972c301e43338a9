"""Likely secrets are found, whoever made them and however they stand in the code; code is not.

Every token here is drawn when the test runs: none stands in this file in one piece.
"""

from __future__ import annotations

import base64
import random
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmc.redaction.secrets import BLOT, blot, find

DICE = random.Random(20)
UPPER, LOWER, DIGITS, HEX = (
    string.ascii_uppercase,
    string.ascii_lowercase,
    string.digits,
    "0123456789abcdef",
)
WORD = UPPER + LOWER + DIGITS
URL = WORD + "-_"


def drawn(length: int, alphabet: str = WORD) -> str:
    """Draw so many characters, a small letter, a capital and two digits among them if possible."""
    must = [
        DICE.choice(kind) for kind in (LOWER, UPPER, DIGITS, DIGITS) if set(kind) <= set(alphabet)
    ]
    rest = DICE.choices(alphabet, k=length - len(must))
    return "".join(DICE.sample(must + rest, length))


def pem(kind: str = "RSA PRIVATE KEY", lines: int = 12, joint: str = "\n") -> list[str]:
    """Return a key's lines with data of no meaning."""
    body = ["MII" + drawn(61), *(drawn(64) for _ in range(lines)), drawn(22) + "=="]
    return [f"-----BEGIN {kind}-----", *body, f"-----END {kind}-----"]


TOKENS = {
    "AWS id": lambda: "AKIA" + drawn(16, UPPER + DIGITS),
    "AWS session id": lambda: "ASIA" + drawn(16, UPPER + DIGITS),
    "GitHub personal": lambda: "ghp" + "_" + drawn(36),
    "GitHub OAuth": lambda: "gho" + "_" + drawn(36),
    "GitHub server": lambda: "ghs" + "_" + drawn(36),
    "GitHub fine-grained": lambda: "github" + "_pat_" + drawn(22) + "_" + drawn(59),
    "GitLab personal": lambda: "glpat" + "-" + drawn(20, URL),
    "GitLab runner": lambda: "GR13" + "48941" + drawn(20, URL),
    "Slack bot": lambda: "xoxb" + f"-{drawn(12, DIGITS)}-{drawn(12, DIGITS)}-{drawn(24)}",
    "Slack user": lambda: "xoxp" + f"-{drawn(12, DIGITS)}-{drawn(12, DIGITS)}-{drawn(32, HEX)}",
    "Slack app": lambda: "xapp" + f"-1-A{drawn(10, UPPER)}-{drawn(13, DIGITS)}-{drawn(64, HEX)}",
    "Stripe secret": lambda: "sk" + "_live_" + drawn(24),
    "Stripe restricted": lambda: "rk" + "_live_" + drawn(99),
    "Stripe test": lambda: "sk" + "_test_" + drawn(24),
    "OpenAI": lambda: "sk" + "-proj-" + drawn(48, URL),
    "OpenAI, old": lambda: "sk" + "-" + drawn(20) + "T3Blbk" + "FJ" + drawn(20),
    "Anthropic": lambda: "sk" + "-ant-api03-" + drawn(93, URL) + "AA",
    "OpenRouter": lambda: "sk" + "-or-v1-" + drawn(64, HEX),
    "Google key": lambda: "AIza" + drawn(35),
    "Google access": lambda: "ya29" + "." + drawn(80, URL),
    "Google client": lambda: "GOCSPX" + "-" + drawn(28, URL),
    "npm": lambda: "npm" + "_" + drawn(36),
    "PyPI": lambda: "pypi" + "-AgEI" + drawn(100, URL),
    "SendGrid": lambda: "SG" + f".{drawn(22)}.{drawn(43)}",
    "Twilio": lambda: "SK" + drawn(32, HEX),
    "Hugging Face": lambda: "hf" + "_" + drawn(34),
    "DigitalOcean": lambda: "dop" + "_v1_" + drawn(64, HEX),
    "Telegram": lambda: drawn(10, DIGITS) + ":AA" + drawn(33),
    "Discord": lambda: "M" + f"{drawn(23)}.{drawn(6)}.{drawn(38)}",
    "Databricks": lambda: "dapi" + drawn(32, HEX),
    "Vault": lambda: "hvs" + "." + drawn(90),
    "Shopify": lambda: "shpat" + "_" + drawn(32, HEX),
    "Azure client": lambda: drawn(3) + "8" + "Q~" + drawn(34),
    "Mailgun": lambda: "key" + "-" + drawn(32, HEX),
    "Mailchimp": lambda: drawn(32, HEX) + "-us" + "12",
    "Square": lambda: "sq0" + "atp-" + drawn(22),
    "Docker": lambda: "dckr" + "_pat_" + drawn(27),
    "Grafana": lambda: "glsa" + "_" + drawn(32) + "_" + drawn(8, HEX),
    "Tailscale": lambda: "tskey" + "-auth-" + drawn(30),
    "age": lambda: "AGE-SECRET" + "-KEY-1" + drawn(58, UPPER + DIGITS),
    "JSON web token": lambda: "eyJ" + f"{drawn(30)}.eyJ{drawn(80)}.{drawn(43)}",
}

PLACES = {
    "alone": "{}",
    "a string": 'client = Client("{}")',
    "single quotes": "client = Client('{}')",
    "an escaped line end before it": r'text = "first\n{}"',
    "in a text": "Use {} for the tests, please.",
    "JSON": '{{"value": "{}", "more": 1}}',
    "JSON in a string": r'body = "{{\"value\": \"{}\"}}"',
    "YAML": "value: {}\n",
    "shell": "export VALUE={}\n",
    "a query": 'url = "https://host.example.net/x?value={}&page=2"',
    "a header": '-H "X-Value: {}"',
    "Markdown": "Call it with `{}`.",
    "a comment": "# was: {}\n",
    "a C define": '#define VALUE "{}"',
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_found_by_its_form_wherever_it_stands(kind: str) -> None:
    found = {place: blot(form.format(TOKENS[kind]())) for place, form in PLACES.items()}
    assert found == {place: (form.format(BLOT), 1) for place, form in PLACES.items()}


NAMES = [
    "password", "DB_PASSWORD", "dbPassword", "passwd", "PGPASSWORD", "db_pass", "passphrase",
    "secret", "client_secret", "clientSecret", "SECRET_KEY", "token", "accessToken", "AUTH_TOKEN",
    "api_key", "apiKey", "API-KEY", "X-Api-Key", "access_key", "aws_secret_access_key",
    "private_key", "signing_key", "encryption_key", "credential", "OPENAI_KEY", "storage.key",
]  # fmt: skip

FORMS = {
    "Python": '{} = "{}"',
    "Python, typed": "{}: str = '{}'",
    "Python, bytes": '{} = b"{}"',
    "keyword": 'connect(host="h", {}="{}")',
    "dict": "{{'{}': '{}'}}",
    "subscript": 'os.environ["{}"] = "{}"',
    "default": 'os.environ.setdefault("{}", "{}")',
    "comparison": 'if {} == "{}":',
    "JSON": '{{"{}": "{}"}}',
    "JSON in a string": r'"{{\"{}\": \"{}\"}}"',
    "YAML": "{}: {}\n",
    "YAML, quoted": '  {}: "{}"\n',
    "TOML": "{} = '{}'\n",
    "dotenv": "{}={}\n",
    "shell": 'export {}="{}"\n',
    "Java": 'private static final String {} = "{}";',
    "Go": '{} := "{}"',
    "Go field": 'Config{{{}: "{}"}}',
    "Go const": 'const {} string = "{}"',
    "TypeScript": "const {}: string = `{}`;",
    "JavaScript": "this.{} = '{}';",
    "Rust": 'let {}: &str = "{}";',
    "Rust, owned": 'let {} = String::from("{}");',
    "C": 'static const char *{} = "{}";',
    "C array": 'char {}[] = "{}";',
    "C define": '#define {} "{}"',
    "PHP": "define('{}', '{}');",
    "Ruby": "{} => '{}'",
    "XML": "<{}>{}</x>",
    "query": '"https://h.example.net/?{}={}&x=1"',
    "flag": "run --{}={} --quiet\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_value_is_found_by_the_name_it_is_given(form: str) -> None:
    found = [blot(FORMS[form].format(name, drawn(24))) for name in NAMES]
    assert found == [(FORMS[form].format(name, BLOT), 1) for name in NAMES]


@pytest.mark.parametrize(
    "password",
    ["hunt" + "er22", "Sommer" + "2024!", "pa$$" + "w0rT", "tr0ub4" + "dor&3", "P@ss" + "phrase"],
)
@pytest.mark.parametrize(
    "form", ["Python", "keyword", "JSON", "dotenv", "YAML, quoted", "Java", "Go"]
)
def test_a_password_needs_not_be_drawn_by_lot(form: str, password: str) -> None:
    assert password not in blot(FORMS[form].format("password", password))[0]


@pytest.mark.parametrize("mark", "_-.")
@pytest.mark.parametrize("form", ["Python", "keyword", "JSON", "YAML, quoted", "Java", "shell"])
def test_a_password_of_words_and_a_year_is_no_name_of_a_thing(form: str, mark: str) -> None:
    password = f"Summer{mark}2024"
    assert password not in blot(FORMS[form].format("db_password", password))[0]
    assert "Monkey" not in blot(FORMS[form].format("password", f"Monkey{mark}77"))[0]


@pytest.mark.parametrize(
    "form", ['password = "{}"', '"postgres://u:{}@h.net/db"', "DB_PASSWORD={}\n"]
)
def test_a_password_that_holds_the_word_example_is_one(form: str) -> None:
    assert "Rt9" not in blot(form.format("myexample" + "Rt9xw4"))[0]


@pytest.mark.parametrize("word", ["EXAMPLE", "EXAMPLE1", "2EXAMPLE"])
def test_a_token_that_holds_the_word_example_is_one(word: str) -> None:
    token = "AKIA" + drawn(16 - len(word), UPPER + DIGITS) + word
    assert blot(f'id = "{token}"')[0] == f'id = "{BLOT}"'
    url = f"https://{drawn(20)}example@host.net/x.git"
    assert "example" not in blot(f'"{url}"')[0]


ODD = [
    'password = """{}"""',
    "password = '''\n  {}'''",
    'password = \\\n    "{}"',
    'password = ("{}")',
    'password = SecretStr("{}")',
    'std::string password{{"{}"}};',
    'client.withPassword("{}")',
    "ALTER USER app WITH PASSWORD '{}';",
    "CREATE USER app IDENTIFIED BY '{}';",
    'pw = "{}"',
    '"Server=db;Uid=app;Password={};"',
    '"jdbc:mysql://db/shop?user=app&password={}"',
    "docker run -e MYSQL_ROOT_PASSWORD={} mysql",
    "PGPASSWORD={} psql",
    "run --password {} --quiet",
    "machine host.net login me password {}",
    "mysql -u root -p{} shop",
    "curl -u me:{} https://host.net",
    "sshpass -p '{}' ssh host",
    '<add key="Password" value="{}"/>',
]


@pytest.mark.parametrize("form", ODD)
def test_a_password_is_found_in_odd_places_too(form: str) -> None:
    assert blot(form.format("hunt" + "er22x")) == (form.format(BLOT), 1)


def test_a_registry_login_and_a_token_in_a_url_are_found() -> None:
    login = base64.b64encode(f"me:{drawn(16)}".encode()).decode()
    assert login not in blot(f'{{"auths": {{"host.net": {{"auth": "{login}"}}}}}}')[0]
    token = drawn(20)
    assert blot(f'"https://{token}@host.net/x.git"')[0] == f'"https://{BLOT}@host.net/x.git"'


@pytest.mark.parametrize(
    "url",
    [
        "postgres://app:{}@db.internal:5432/shop",
        "https://me:{}@git.host.net/x.git",
        "redis://:{}@10.0.0.3:6379/0",
        "mongodb+srv://u%40x:{}@c0.host.net",
        "amqp://user:{}@[::1]/v",
    ],
)
@pytest.mark.parametrize("password", ["sword" + "fish", "s3cr" + "3t-thing", "p%40ss" + "word9"])
def test_a_password_in_a_url_is_found(url: str, password: str) -> None:
    assert blot(f'engine("{url.format(password)}")') == (f'engine("{url.format(BLOT)}")', 1)


@pytest.mark.parametrize("scheme", ["Basic", "Bearer", "basic", "token"])
def test_the_value_of_an_authorization_header_is_found(scheme: str) -> None:
    value = base64.b64encode(f"user1:{drawn(14)}".encode()).decode()
    for form in ('"Authorization": "{} {}"', 'req.Header.Set("Authorization", "{} {}")'):
        assert value not in blot(form.format(scheme, value))[0]


def test_the_secret_beside_an_aws_key_id_is_found_without_a_name() -> None:
    value = drawn(40)
    text, count = blot(f'Session("{TOKENS["AWS id"]()}", "{value}")')
    assert (text, count) == (f'Session("{BLOT}", "{BLOT}")', 2)


@pytest.mark.parametrize("kind", ["AccountKey", "SharedAccessKey"])
def test_a_key_in_an_azure_connection_string_is_found(kind: str) -> None:
    value = drawn(86) + "=="
    assert (
        blot(f'"Endpoint=sb://x/;{kind}={value};X=y"')[0] == f'"Endpoint=sb://x/;{kind}={BLOT};X=y"'
    )


# -- private keys ----------------------------------------------------------------------------------

KINDS = [
    "RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY", "OPENSSH PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK",
]  # fmt: skip
WRITTEN = {
    "as it is": "\n".join,
    "with CRLF": "\r\n".join,
    "indented": lambda lines: "key: |\n" + "\n".join(f"    {line}" for line in lines),
    "in one string": lambda lines: 'KEY = "' + "\\n".join(lines) + '"',
    "in JSON in a string": lambda lines: r"'{\"k\": \"" + r"\\n".join(lines) + r"\"}'",
    "a string a line": lambda lines: (
        "KEY = (\n" + "\n".join(f'    "{line}\\n"' for line in lines) + "\n)"
    ),
    "strings added up": lambda lines: (
        "var k = " + " +\n  ".join(f'"{line}\\n"' for line in lines) + ";"
    ),
    "commented out": lambda lines: "\n".join(f"# {line}" for line in lines),
}


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
def test_a_private_key_is_found_however_it_is_written(kind: str, how: str, torn: bool) -> None:
    lines = pem(kind)
    source = WRITTEN[how](lines[:-4] if torn else lines)
    text, _ = blot(source)
    assert not [line for line in lines[1:-1] if line[:16] in text]
    assert text.count("\n") == source.count("\n")


def test_what_follows_a_torn_key_stays() -> None:
    lines = pem()[:5]
    text, _ = blot(
        "\n".join(["KEY = '''", *lines, "'''", "", "def total(prices):", "    return 1"])
    )
    assert text.endswith("def total(prices):\n    return 1")


def test_headers_of_an_encrypted_key_hide_nothing() -> None:
    first, *rest = pem()
    head = [first, "Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-128-CBC," + drawn(32, HEX), ""]
    for lines in ([*head, *rest], [*head, *rest[:3]]):
        assert rest[0] not in blot("\n".join(lines))[0]


def test_a_key_in_base64_is_found() -> None:
    encoded = base64.b64encode("\n".join(pem()).encode()).decode()
    assert blot(f"client-key-data: {encoded}\n")[0] == f"client-key-data: {BLOT}\n"


def test_the_private_parts_of_a_json_web_key_are_found() -> None:
    d = drawn(43, WORD)
    assert d not in blot(f'{{"kty": "EC", "crv": "P-256", "d": "{d}", "use": "sig"}}')[0]


def test_code_that_only_speaks_of_keys_stays() -> None:
    begin, end = (f"-----{word} PRIVATE KEY-----" for word in ("BEGIN", "END"))
    code = (
        "def is_key(text):\n"
        f'    begins = text.startswith("{begin}")\n'
        f'    return begins and "{end}" in text.strip().splitlines()\n'
    )
    assert find(code) == []


def test_a_certificate_and_a_public_key_stay() -> None:
    assert find("\n".join(pem("CERTIFICATE"))) == find("\n".join(pem("PUBLIC KEY"))) == []


# -- what is no secret -----------------------------------------------------------------------------

CODE = [
    'password = os.environ["DB_PASSWORD"]',
    'password = getpass.getpass("Password: ")',
    "token = self.lexer.next_token()",
    'TOKEN_URL = "https://login.host.net/oauth2/v2.0/token"',
    'token_type = "urn:ietf:params:oauth:token-type:jwt"',
    'secret_name = "projects/my-project-12/secrets/db-1"',
    'parser.add_argument("--password", help="the password of user1")',
    'password = "changeme"',
    'password = "your-password-here1"',
    'password = "xxxxxxxx"',
    'password = "********"',
    'password = "<password>"',
    'password = "${DB_PASSWORD}"',
    'password = "{{ vault_password }}"',
    'password = "%(password)s"',
    'api_key = "YOUR_API_KEY"',
    'api_key = ""',
    'token = "test"',
    'token = "access_token"',
    '"password": "string"',
    "password: string;",
    "func (c *Client) SetPassword(password string) error {",
    'primary_key="customer_address_id2"',
    'public_key = "ssh-ed25519"',
    'cache_key = f"{user}:{page}"',
    'url = "postgres://user:password@localhost/db"',
    'url = "postgres://user:example@localhost/db"',
    'password = "example"',
    'password = "example-password"',
    'password = "db_user_2"',
    'api_key = "stage_2024_key"',
    'url = f"https://{user}:{password}@{host}/"',
    'url = "https://user:${PASSWORD}@host/"',
    'keyboard = "qwertz105"',
    'tokenizer = "cl100k_base"',
    'secret = base64.b64decode(data["secret"])',
    'headers["Authorization"] = f"Bearer {token}"',
    'headers = {"Authorization": "Bearer " + token}',
    "const secretVersion = 'projects/p1/secrets/s1/versions/3'",
    'sha = "da39a3ee5e6b4b0d3255bfef95601890afd80709"',
    "class GoogleCloudSecretManagerV1Beta1AccessSecretVersionResponse:",
    "ghp" + "_" + "x" * 36,
    ".sk-estimator-doc-link-container { color: red }",
]  # fmt: skip


@pytest.mark.parametrize("code", CODE)
def test_ordinary_code_stays_as_it_is(code: str) -> None:
    assert blot(code) == (code, 0)


# -- properties ------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["password", "token", "key", "=", ": ", '"', "'", "\\", "\n", "\r\n", " ", "://", "@", ":",
     "ghp" + "_", "AKIA", "eyJ", ".eyJ", "-----BEGIN " + "PRIVATE KEY-----",
     "-----END " + "PRIVATE KEY-----", "sk" + "-", "Bearer ", "İ", "é", "***", "MII",
     "a1B2c3D4e5F6g7H8", "hunt" + "er22", "x" * 20]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=8), max_size=25).map("".join)


@given(TEXTS)
@example('"İ" password = "hunt' + 'er22"')
def test_a_blotted_text_keeps_its_lines_and_is_left_alone_from_then_on(text: str) -> None:
    blotted, count = blot(text)
    assert blotted.count("\n") == text.count("\n")
    assert (blotted == text) == (count == 0)
    assert blot(blotted) == (blotted, 0)


@given(TEXTS)
def test_finds_are_in_order_and_apart(text: str) -> None:
    ends = [0]
    for hit in find(text):
        assert ends[-1] <= hit.start < hit.end <= len(text)
        ends.append(hit.end)


@given(st.text(alphabet=st.characters(blacklist_categories=("Nd", "Cs", "Lu")), max_size=300))
def test_prose_without_digits_and_capitals_has_no_tokens(text: str) -> None:
    rules = {hit.rule for hit in find(text)}
    assert rules <= {"password", "named secret", "password in a URL"}


HOSTILE = {
    "one name after the other": "password" * 12_000,
    "names and equals": "token=" * 16_000,
    "names and quotes": "secret='token=\"" * 6_000,
    "names and colons": 'key: "password": ' * 6_000,
    "open quote": 'password = "' + "a" * 100_000,
    "escapes": 'password = "' + "\\" * 100_000,
    "prefixes": ("ghp" + "_") * 24_000,
    "AWS": "AKIA" * 24_000,
    "web tokens": "eyJ" * 32_000,
    "web tokens with points": "eyJaaaaaaaaa." * 8_000,
    "begun keys": ("-----BEGIN " + "PRIVATE KEY-----") * 3_000,
    "begun keys with data": ("-----BEGIN " + "PRIVATE KEY-----\n" + "A" * 64) * 1_000,
    "one long key": "-----BEGIN " + "PRIVATE KEY-----" + "A1b" * 32_000,
    "spaces behind a key": "-----BEGIN " + "PRIVATE KEY-----" + " \\n" * 32_000,
    "URLs": "://a:" * 20_000,
    "headers": "bearer " * 14_000,
    "one word": "a" * 100_000,
    "dots": "M" + "a.b" * 32_000,
    "types": "token: " + "a" * 100_000,
    "wraps": "token = " + "a(" * 50_000,
    "İ": "İ" * 40_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hundred_kilobytes_on_one_line_is_searched_to_its_end(kind: str) -> None:
    """A search that goes back over what it has read would take hours here."""
    token = TOKENS["npm"]()
    text = f"{HOSTILE[kind]}\n{token}\n"
    assert token not in blot(text)[0]
