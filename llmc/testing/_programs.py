"""The two fake gateway programs, as text; `gateway.write_gateway` puts a shebang on top.

They do the same thing. A call takes its number by creating PATH.calls/N, which only one process can
do; it is noted before the program sleeps, so a call that gets killed is on record.
"""

PYTHON = r"""# Written by llmc.testing.gateway: a gateway without a model behind it.
import base64, hashlib, json, os, re, sys, time

HERE = os.path.abspath(__file__)


def take_number():
    number = len(os.listdir(HERE + ".calls"))
    while True:
        try:
            os.close(os.open(f"{HERE}.calls/{number}", os.O_CREAT | os.O_EXCL))
            return number
        except FileExistsError:
            number += 1


def enrichment(prompt, mark):
    found = re.search(r"\b(?:def|class|function|func|fn)\s+([A-Za-z_]\w*)", prompt)
    name = found.group(1) if found else "the text"
    return json.dumps({
        "summary_120w": f"Describes {name} (prompt {mark[:12]}).", "inputs": [], "outputs": [],
        "side_effects": [], "pitfalls": [], "usage_snippet": None, "evidence": [],
    }).encode()


number = take_number()
with open(HERE + ".json", encoding="utf-8") as file:
    plan = json.load(file)
reply = plan["replies"][number] if number < len(plan["replies"]) else plan["default"]
raw = sys.stdin.buffer.read() if reply["read_stdin"] else b""
prompt, mark = raw.decode("utf-8", "replace"), hashlib.sha256(raw).hexdigest()
record = {
    "number": number, "time": time.time(), "argv": sys.argv[1:], "cwd": os.getcwd(),
    "env": {name: os.environ.get(name) for name in plan["watched"]},
    "prompt_chars": len(prompt), "prompt_sha256": mark,
    "prompt": prompt if plan["keep_prompts"] else None,
}
log = os.open(HERE + ".log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(log, (json.dumps(record) + "\n").encode())
os.close(log)
time.sleep(reply["sleep"])
output = reply["stdout_base64"]
sys.stdout.buffer.write(enrichment(prompt, mark) if output is None else base64.b64decode(output))
sys.stderr.write(reply["stderr"])
sys.exit(reply["exit_code"])
"""

JAVASCRIPT = r"""// Written by llmc.testing.gateway: a gateway without a model behind it.
const crypto = require("crypto"), fs = require("fs");
const HERE = __filename;

function takeNumber() {
  for (let number = fs.readdirSync(HERE + ".calls").length; ; number++) {
    try {
      fs.closeSync(fs.openSync(`${HERE}.calls/${number}`, "wx"));
      return number;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
  }
}

function enrichment(prompt, mark) {
  const found = /\b(?:def|class|function|func|fn)\s+([A-Za-z_]\w*)/.exec(prompt);
  const name = found ? found[1] : "the text";
  return Buffer.from(JSON.stringify({
    summary_120w: `Describes ${name} (prompt ${mark.slice(0, 12)}).`, inputs: [], outputs: [],
    side_effects: [], pitfalls: [], usage_snippet: null, evidence: [],
  }));
}

const number = takeNumber();
const plan = JSON.parse(fs.readFileSync(HERE + ".json", "utf-8"));
const reply = number < plan.replies.length ? plan.replies[number] : plan.default;
const raw = reply.read_stdin ? fs.readFileSync(0) : Buffer.alloc(0);
const prompt = raw.toString("utf-8");
const mark = crypto.createHash("sha256").update(raw).digest("hex");
fs.appendFileSync(HERE + ".log", JSON.stringify({
  number, time: Date.now() / 1000, argv: process.argv.slice(2), cwd: process.cwd(),
  env: Object.fromEntries(plan.watched.map((name) => [name, process.env[name] ?? null])),
  prompt_chars: [...prompt].length, prompt_sha256: mark,
  prompt: plan.keep_prompts ? prompt : null,
}) + "\n");
setTimeout(() => {
  const output = reply.stdout_base64;
  fs.writeSync(2, reply.stderr);
  fs.writeSync(1, output === null ? enrichment(prompt, mark) : Buffer.from(output, "base64"));
  process.exitCode = reply.exit_code;
}, reply.sleep * 1000);
"""
