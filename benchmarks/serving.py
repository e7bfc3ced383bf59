"""What the server adds to the engine: latency and throughput over HTTP, beside the same questions without it.

    python benchmarks/serving.py
    python benchmarks/serving.py --load 10
    python benchmarks/serving.py --again --scenes 8

`terrascope serve` is started on a free port of this machine, and asked by 1, 4 and 16 clients at once, who upload their
scene with every question, which the server is told not to remember. In turns with them, `TerraScope.ask_many` answers
the same questions in this process, as many at once, each from its file. With --load, more clients ask than the server
takes, for so many minutes; some go away in the middle of an answer. With --again, one client asks the same of a scene
twice, which it uploads again. benchmarks/README.md says what the figures mean. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from terrascope import TerraScope

QUESTION_TIMEOUT_S = 300.0
SAMPLE_EVERY_S = 1.0
"""Between two looks at the memory and the queue of the server."""
ASK_AGAIN_S = 0.2
"""After a refusal: much sooner than the server asks for, so that it stays overloaded."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question about the scene of a file."""

    path: Path
    sensor: str
    question: str


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came of a question: how long it took, and the answer, None where it was refused."""

    asked: Asked
    status: int
    seconds: float
    answer: str | None = None
    counts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Turn:
    """All questions once over HTTP and once by the engine alone: wall clock and processor time of each."""

    replies: list[Reply]
    seconds: float
    cpu_seconds: float
    num_tokens: float
    engine_seconds: float
    engine_cpu_seconds: float


@dataclass(kw_only=True)
class Load:
    """What was seen while the server was overloaded."""

    replies: list[Reply] = field(default_factory=list)
    num_left: int = 0
    seconds: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)
    queued: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)


@contextmanager
def server(model: str, device: str, *options: str) -> Iterator[tuple[str, int]]:
    """Address and process id of a server of its own, on a free port of this machine."""
    command = [sys.executable, "-m", "terrascope", "serve", "--model", model, "--device", device, "--port", "0"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield wait_for_address(process, log.fileno()), process.pid
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for_address(process: subprocess.Popen[bytes], log: int, timeout_s: float = 180) -> str:
    """The address that a server tells when it listens."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and process.poll() is None:
        told = os.pread(log, 1 << 16, 0).decode(errors="replace")
        found = re.search(r"listening on (http://\S+)", told)
        if found:
            return found[1]
        time.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{os.pread(log, 1 << 16, 0).decode(errors='replace')}")


def read_metrics(text: str) -> dict[str, float]:
    """Values by name of Prometheus's text, those with labels left out."""
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#") and "{" not in line)
    return {name: float(value) for name, value in pairs}


def rss_mib(process_id: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu_seconds(process_id: int) -> float:
    """Processor time that a process has taken."""
    told = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(round(share * len(ordered), 9)) - 1)]


def slope(seconds: Sequence[float], values: Sequence[float]) -> float:
    """Growth of the values in a minute, by least squares."""
    return 60 * statistics.linear_regression(seconds, values).slope


async def ask(client: httpx.AsyncClient, asked: Asked) -> Reply:
    """Upload a scene and ask about it."""
    begun = time.perf_counter()
    reply = await client.post("/v1/ask", data=fields(asked), files=[("optical", upload(asked))])
    seconds = time.perf_counter() - begun
    if reply.status_code != 200:
        return Reply(asked=asked, status=reply.status_code, seconds=seconds)
    told = reply.json()
    assert told["question"] == asked.question, (told["question"], asked)
    return Reply(
        asked=asked, status=200, seconds=seconds, answer=told["answer"],
        counts=tuple(step["mask_rle"]["counts"] for step in told["steps"]),
    )  # fmt: skip


async def follow(client: httpx.AsyncClient, asked: Asked) -> tuple[float, float]:
    """Upload a scene and follow the answer. Seconds until its first text, and until it is there."""
    begun, first = time.perf_counter(), math.nan
    told = {**fields(asked), "stream": "true"}
    async with client.stream("POST", "/v1/ask", data=told, files=[("optical", upload(asked))]) as reply:
        async for line in reply.aiter_lines():
            if line == "event: text" and math.isnan(first):
                first = time.perf_counter() - begun
            assert line != "event: error", await anext(reply.aiter_lines())
    return first, time.perf_counter() - begun


async def ask_and_leave(client: httpx.AsyncClient, asked: Asked) -> int:
    """Follow an answer up to its first text, and go away. The status."""
    told = {**fields(asked), "stream": "true"}
    async with client.stream("POST", "/v1/ask", data=told, files=[("optical", upload(asked))]) as reply:
        async for line in reply.aiter_lines():
            if line == "event: text":
                break
        return reply.status_code


def fields(asked: Asked) -> dict[str, str]:
    return {"question": asked.question, "sensor": asked.sensor}


def upload(asked: Asked) -> tuple[str, bytes, str]:
    return asked.path.name, asked.path.read_bytes(), "image/tiff"


def client_of(address: str, num_clients: int) -> httpx.AsyncClient:
    import httpx

    limits = httpx.Limits(max_connections=num_clients + 2, max_keepalive_connections=num_clients + 2)
    return httpx.AsyncClient(base_url=address, timeout=QUESTION_TIMEOUT_S, limits=limits)


async def ask_all(address: str, asks: Sequence[Asked], num_clients: int) -> list[Reply]:
    """All questions by so many clients, each of which asks the next as soon as it has its answer."""
    waiting, replies = iter(asks), list[Reply]()

    async def work(client: httpx.AsyncClient) -> None:
        for asked in waiting:
            replies.append(await ask(client, asked))

    async with client_of(address, num_clients) as client:
        await asyncio.gather(*(work(client) for _ in range(num_clients)))
    assert {reply.status for reply in replies} == {200}, Counter(reply.status for reply in replies)
    return replies


def ask_engine(model: TerraScope, asks: Sequence[Asked], rows: int) -> list[Any]:
    """The same without a server: as many questions at once, each of a scene that is opened for it."""
    from terrascope import Scene
    from terrascope.answer import Answer
    from terrascope.predictor import Ask

    model.engine.max_rows = rows
    opened = (Ask(scene=Scene.open(optical=[str(one.path)], sensor=one.sensor), question=one.question) for one in asks)
    answers = list(model.ask_many(opened))
    assert all(isinstance(answer, Answer) for answer in answers), answers
    return answers


async def overload(address: str, process_id: int, asks: Sequence[Asked], num_clients: int, minutes: float) -> Load:
    """So many clients ask without a pause; every fifth answer is left in the middle."""
    seen, begun = Load(), time.monotonic()
    end = begun + 60 * minutes

    async def work(client: httpx.AsyncClient, first: int) -> None:
        number = first
        while time.monotonic() < end:
            number += 1
            asked = asks[number % len(asks)]
            if number % 5 == 0:
                status = await ask_and_leave(client, asked)
                seen.num_left += status == 200
            else:
                seen.replies.append(await ask(client, asked))
                status = seen.replies[-1].status
            if status != 200:
                await asyncio.sleep(ASK_AGAIN_S)

    async def watch(client: httpx.AsyncClient) -> None:
        while time.monotonic() < end:
            told = read_metrics((await client.get("/metrics")).text)
            seen.seconds.append(time.monotonic() - begun)
            seen.rss_mib.append(rss_mib(process_id))
            seen.queued.append(int(told["terrascope_queued"]))
            seen.running.append(int(told["terrascope_running"]))
            await asyncio.sleep(SAMPLE_EVERY_S)

    async with client_of(address, num_clients) as client:
        await asyncio.gather(watch(client), *(work(client, 7 * number) for number in range(num_clients)))
    return seen


def make_asks(folder: Path, num_scenes: int, size: int, num_questions: int) -> list[Asked]:
    """Generated scenes on the disk, and questions about them, neighbours about different scenes."""
    from batch import QUESTIONS, write_scenes

    with write_scenes(folder, num_scenes, size).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Asked(
            path=folder / rows[number % num_scenes]["optical"],
            sensor=rows[number % num_scenes]["sensor"],
            question=QUESTIONS[number // num_scenes % len(QUESTIONS)],
        )
        for number in range(num_questions)
    ]


def same_as(expected: dict[Asked, Any], reply: Reply) -> bool:
    """Whether a reply says and shows what the engine says and shows alone."""
    from terrascope.masks import encode_rle

    answer = expected[reply.asked]
    return reply.answer == answer.text and reply.counts == tuple(encode_rle(mask)["counts"] for mask in answer.masks)


def measure(arguments: argparse.Namespace, model: TerraScope, asks: Sequence[Asked]) -> dict[str, Any]:
    """The figures of every number of clients, printed as they come."""
    lines = {}
    expected = dict(zip(asks, ask_engine(model, asks, max(arguments.clients)), strict=True))
    # The engine alone does not remember scenes either.
    options = ("--max-running", str(max(arguments.clients)), "--remember-scenes", "0")
    with server(arguments.model, arguments.device, *options) as (address, process):
        asyncio.run(ask_all(address, asks, max(arguments.clients)))  # warm, as the engine is
        for num_clients in arguments.clients:
            turns = [turn(address, process, model, asks, num_clients) for _ in range(arguments.repeats)]
            replies = [reply for one in turns for reply in one.replies]
            latencies = [reply.seconds for reply in replies]
            lines[str(num_clients)] = {
                "p50_s": quantile(latencies, 0.5),
                "p95_s": quantile(latencies, 0.95),
                "questions_per_s": statistics.median(len(asks) / one.seconds for one in turns),
                "tokens_per_s": statistics.median(one.num_tokens / one.seconds for one in turns),
                "engine_questions_per_s": statistics.median(len(asks) / one.engine_seconds for one in turns),
                "ratio": statistics.median(one.engine_seconds / one.seconds for one in turns),
                "cpu_s": statistics.median(one.cpu_seconds / len(asks) for one in turns),
                "engine_cpu_s": statistics.median(one.engine_cpu_seconds / len(asks) for one in turns),
                "num_answers": len(replies),
                "num_same": sum(same_as(expected, reply) for reply in replies),
            }
            print(describe(num_clients, lines[str(num_clients)]), flush=True)
    return lines


def turn(address: str, process_id: int, model: TerraScope, asks: Sequence[Asked], num_clients: int) -> Turn:
    """All questions over HTTP, then by the engine alone."""
    import httpx

    def num_tokens() -> float:
        return read_metrics(httpx.get(f"{address}/metrics").text)["terrascope_tokens_total"]

    tokens_before, cpu_before, begun = num_tokens(), cpu_seconds(process_id), time.perf_counter()
    replies = asyncio.run(ask_all(address, asks, num_clients))
    seconds, cpu = time.perf_counter() - begun, cpu_seconds(process_id) - cpu_before
    engine_cpu_before, begun = time.process_time(), time.perf_counter()
    written = num_tokens() - tokens_before
    ask_engine(model, asks, num_clients)
    return Turn(
        replies=replies, seconds=seconds, cpu_seconds=cpu, num_tokens=written,
        engine_seconds=time.perf_counter() - begun, engine_cpu_seconds=time.process_time() - engine_cpu_before,
    )  # fmt: skip


HEAD = (
    "| clients | p50, s | p95, s | questions/s | tokens/s | engine alone, questions/s | ratio | processor s a question "
    "| engine alone | same answer |\n" + "|---" * 10 + "|"
)


def describe(num_clients: int, m: dict[str, Any]) -> str:
    """A line of the table for people."""
    return (
        f"| {num_clients} | {m['p50_s']:.2f} | {m['p95_s']:.2f} | {m['questions_per_s']:.2f} | "
        f"{m['tokens_per_s']:.0f} | {m['engine_questions_per_s']:.2f} | {100 * m['ratio']:.0f} % | {m['cpu_s']:.3f} | "
        f"{m['engine_cpu_s']:.3f} | {m['num_same']} of {m['num_answers']} |"
    )


def measure_again(arguments: argparse.Namespace, asks: Sequence[Asked]) -> dict[str, Any]:
    """Seconds of a question about a scene that is new to the server, and of the same about the same scene."""
    first, again = list[tuple[float, float]](), list[tuple[float, float]]()

    async def work(address: str) -> str:
        async with client_of(address, 1) as client:
            # Warm: the last scene, which is forgotten before its turn.
            await follow(client, asks[-1])
            for _ in range(arguments.repeats):
                for asked in asks:
                    first.append(await follow(client, asked))
                    again.append(await follow(client, asked))
            return (await client.get("/metrics")).text

    with server(arguments.model, arguments.device, "--remember-scenes", "2") as (address, _):
        counted = asyncio.run(work(address))
    assert f'terrascope_scenes_total{{origin="remembered"}} {float(len(again))}' in counted, counted
    told = {
        f"{turn}_{what}_s": statistics.median(seconds[number] for seconds in turns)
        for turn, turns in (("first", first), ("again", again))
        for number, what in enumerate(("text", "answer"))
    }
    print("| question about a scene | first text, ms | answer, ms |\n|---|---|---|")
    for turn in ("first", "again"):
        print(f"| {turn} | {1000 * told[f'{turn}_text_s']:.0f} | {1000 * told[f'{turn}_answer_s']:.0f} |")
    return told


def check_load(arguments: argparse.Namespace, model: TerraScope, asks: Sequence[Asked]) -> dict[str, Any]:
    """What an overloaded server did, after asserting what it must do."""
    expected = dict(zip(asks, ask_engine(model, asks, 1), strict=True))
    running, queue = max(arguments.clients), arguments.queue
    num_clients = 2 * (running + queue)
    with server(
        arguments.model, arguments.device, "--max-running", str(running), "--max-queue", str(queue)
    ) as (address, process_id):  # fmt: skip
        asyncio.run(ask_all(address, asks, running))
        seen = asyncio.run(overload(address, process_id, asks, num_clients, arguments.load))
    statuses = Counter(reply.status for reply in seen.replies)
    answered = [reply for reply in seen.replies if reply.status == 200]
    num_same = sum(same_as(expected, reply) for reply in answered)
    half = len(seen.seconds) // 2
    told = {
        "minutes": arguments.load,
        "clients": num_clients,
        "statuses": dict(statuses),
        "left": seen.num_left,
        "same": num_same,
        "max_queued": max(seen.queued),
        "max_running": max(seen.running),
        "rss_first_mib": seen.rss_mib[0],
        "rss_last_mib": seen.rss_mib[-1],
        "rss_max_mib": max(seen.rss_mib),
        "rss_slope_mib_per_min": slope(seen.seconds, seen.rss_mib),
        "rss_slope_of_second_half_mib_per_min": slope(seen.seconds[half:], seen.rss_mib[half:]),
    }
    print(json.dumps(told, indent=2))
    assert set(statuses) <= {200, 503}, statuses
    assert statuses[503] > 0, "the server was not overloaded"
    assert max(seen.queued) <= queue and max(seen.running) <= running
    # Sums in another order may turn a decision between two words that are equally likely.
    assert num_same >= 0.99 * len(answered), f"{num_same} of {len(answered)} answers as the engine gives them alone"
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--questions", type=int, default=32, help="of each turn")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--repeats", type=int, default=3, help="turns")
    parser.add_argument("--load", type=float, metavar="MINUTES", help="overload the server instead, so long")
    parser.add_argument("--again", action="store_true", help="ask the same of each scene twice instead")
    parser.add_argument("--queue", type=int, default=16, help="with --load: places of the queue")
    parser.add_argument("--out", type=Path, help="also write the numbers there as JSON")
    arguments = parser.parse_args()
    # Stopped in whatever way, it stops its server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Both sides compute with one thread, here and in the server.
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch
    from alone import cpu_name

    import terrascope
    from terrascope import TerraScope

    torch.set_num_threads(1)
    model = TerraScope.from_pretrained(arguments.model, device=arguments.device)
    print(
        f"{arguments.model} on {arguments.device}; {cpu_name()}, {os.cpu_count()} cores for server and clients, "
        f"one thread of torch {torch.__version__}; terrascope {terrascope.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        asks = make_asks(Path(folder), arguments.scenes, arguments.size, arguments.questions)
        if arguments.again:
            measured = measure_again(arguments, asks[: arguments.scenes])
        elif arguments.load is None:
            print(HEAD)
            measured = measure(arguments, model, asks)
        else:
            measured = check_load(arguments, model, asks)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
