"""The fake gateway programs, and the fake backend."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmc.backends.cascade import BackendCascade
from llmc.errors import BackendError
from llmc.testing import BackendCall, BackendConfig, FakeBackend, refused, unusable
from llmc.testing.gateway import GatewayReply, gateway_calls, write_gateway

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


@pytest.fixture(params=["gateway", pytest.param("gateway.js", marks=needs_node)])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where each kind of program is written in turn."""
    return tmp_path / "bin" / str(request.param)


def run(
    program: Path, prompt: str = "def area(): ...", *args: str, **env: str
) -> subprocess.CompletedProcess[bytes]:
    command: Sequence[str] = [str(program), "--api", *args]
    if program.suffix == ".js":
        command = [str(NODE), *command]
    clean = {"PATH": os.environ["PATH"], **env}
    return subprocess.run(
        command, input=prompt.encode(), capture_output=True, env=clean, timeout=30, check=False
    )


def test_it_answers_with_a_valid_enrichment(program: Path) -> None:
    done = run(write_gateway(program))
    assert done.returncode == 0
    assert "area" in json.loads(done.stdout)["summary_120w"]


def test_it_is_executable(program: Path) -> None:
    path = write_gateway(program)
    done = subprocess.run([path], input=b"p", capture_output=True, timeout=30, check=True)
    assert json.loads(done.stdout)["inputs"] == []


def test_replies_come_in_order_then_the_default(program: Path) -> None:
    write_gateway(program, ["one", GatewayReply("two")], default="rest")
    assert [run(program).stdout for _ in range(4)] == [b"one", b"two", b"rest", b"rest"]


def test_it_notes_what_it_was_called_with(program: Path) -> None:
    write_gateway(program)
    run(program, "gr\u00fc\u00df dich", "--debug", GEMINI_MODEL="gemini-x", LLM_DISABLED="false")
    (call,) = gateway_calls(program)
    assert call.argv == ("--api", "--debug")
    assert call.cwd == str(Path.cwd())
    assert call.env == {
        "GEMINI_MODEL": "gemini-x",
        "LLM_DISABLED": "false",
        "NEXT_PUBLIC_LLM_DISABLED": None,
        "LLM_GATEWAY_DISABLE_RAG": None,
    }
    assert call.prompt == "gr\u00fc\u00df dich"
    assert call.prompt_chars == 9
    assert call.prompt_sha256 == hashlib.sha256("gr\u00fc\u00df dich".encode()).hexdigest()


def test_prompts_need_not_be_kept(program: Path) -> None:
    write_gateway(program, keep_prompts=False)
    run(program, "secret")
    (call,) = gateway_calls(program)
    assert (call.prompt, call.prompt_chars) == (None, 6)


def test_calls_at_once_get_a_number_each(program: Path) -> None:
    write_gateway(program, [f"reply {number}" for number in range(12)])
    with ThreadPoolExecutor(6) as pool:
        outputs = [done.stdout.decode() for done in pool.map(lambda _: run(program), range(12))]
    assert sorted(outputs) == sorted(f"reply {number}" for number in range(12))
    assert [call.number for call in gateway_calls(program)] == list(range(12))


@pytest.mark.parametrize("output", ["", "some output"])
def test_it_fails_with_and_without_output(program: Path, output: str) -> None:
    write_gateway(program, [GatewayReply(output, exit_code=3, stderr="told so")])
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (3, output.encode(), b"told so")


def test_output_need_not_be_utf8(program: Path) -> None:
    write_gateway(program, [b"caf\xe9 \xff"])
    assert run(program).stdout == b"caf\xe9 \xff"


def test_a_sleeping_program_that_is_killed_is_on_record(program: Path) -> None:
    write_gateway(program, [GatewayReply(sleep=60)])
    command = [str(program)] if program.suffix != ".js" else [str(NODE), str(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"p")
        process.stdin.close()
        deadline = time.monotonic() + 30
        while not gateway_calls(program) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    assert len(gateway_calls(program)) == 1


def test_it_may_leave_its_input_unread(program: Path) -> None:
    write_gateway(program, [GatewayReply("x", read_stdin=False)])
    run(program, "p" * 1_000_000)
    assert gateway_calls(program)[0].prompt == ""


def test_a_large_prompt_and_a_large_reply_pass(program: Path) -> None:
    write_gateway(program, ["y" * 500_000])
    assert len(run(program, "p" * 500_000).stdout) == 500_000
    assert gateway_calls(program)[0].prompt_chars == 500_000


def test_writing_it_again_starts_over(program: Path) -> None:
    write_gateway(program, ["one"])
    run(program)
    write_gateway(program, ["two"])
    assert gateway_calls(program) == []
    assert run(program).stdout == b"two"


def test_a_backend_answers_in_order_then_by_the_prompt() -> None:
    backend = FakeBackend([{"summary_120w": "one"}])
    results = [backend.generate("def area(): ...", item={})[0] for _ in range(2)]
    assert results[0] == {"summary_120w": "one"}
    assert "area" in results[1]["summary_120w"]


def test_a_backend_raises_what_its_script_says() -> None:
    error = unusable("no route")
    with pytest.raises(BackendError) as caught:
        FakeBackend([error]).generate("p", item={})
    assert caught.value is error
    assert (error.failure_type, error.failure) == ("runtime", None)


def test_a_refused_reply_carries_its_failure() -> None:
    error = refused("truncation", "cut off", "{")
    assert error.failure_type == "truncation"
    assert error.failure == ("truncation", "cut off", "{")


def test_a_backend_records_its_calls() -> None:
    item = {"span_hash": "h"}
    backend = FakeBackend(lambda call: {"n": call.index})
    assert [backend.generate("p", item=item)[0]["n"] for _ in range(2)] == [0, 1]
    assert backend.calls == (BackendCall(0, "p", item), BackendCall(1, "p", item))


def test_a_backend_names_its_model_and_host() -> None:
    backend = FakeBackend(config=BackendConfig(model="m7"), host="attic", meta={"eval_count": 3})
    _, meta = backend.generate("p", item={})
    assert meta == {"backend": "fake", "model": "m7", "host": "attic", "eval_count": 3}
    assert backend.describe_host() == "attic"


def test_backends_work_in_a_cascade() -> None:
    cascade = BackendCascade([FakeBackend([unusable()]), FakeBackend(host="attic")])
    _, meta, attempts = cascade.generate_for_span("p", item={})
    assert [attempt.success for attempt in attempts] == [False, True]
    assert meta["host"] == "attic"


def test_a_backend_may_be_shared_among_threads() -> None:
    backend = FakeBackend([{"n": number} for number in range(200)])
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda _: backend.generate("p", item={})[0]["n"], range(200))
        assert sorted(found) == list(range(200))
