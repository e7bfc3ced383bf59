"""What the engine costs: a token beside a floor and beside `generate()`, batches, grounding, shared scenes.

    python benchmarks/engine.py --model nano

All parts of one ratio are timed in turns in one process. The scenes are generated. benchmarks/README.md says what the
figures mean.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

from alone import cpu_name, time_alternately

if TYPE_CHECKING:
    from terrascope.model import TerraScope
    from terrascope.model.engine.requests import Program

T = TypeVar("T")

SCENE_SEED = 1_000_000
QUESTIONS = (
    "What percentage of the scene is covered by water?",
    "What is the total area of the tree in square meters?",
    "Which class covers a larger area: crops or tree?",
)
FILLER = "It covers 34% of the image. "
"""Text without a [SEG]: all decode the same tokens of it, so that none stops early or grounds anything."""

MASKED = (
    "<think>The water: [SEG] It covers 3% of the image. The tree: [SEG] It covers 20% of the image. The crops: [SEG]"
)


def token_by_token(action: Callable[[], T]) -> T:
    """Run an action without feeding tokens ahead: what is forced would go through the model in one pass."""
    with patch("terrascope.model.generation.drafter", lambda *_: lambda _: ()):
        return action()


def prepare(predictor: TerraScope, seed: int, size: int = 256) -> tuple[Any, Any, Any]:
    """A generated scene, what the model sees of it, and a prompt about it."""
    import torch

    from terrascope.model.encoding import encode_scene
    from terrascope.sources.synthetic import make_sample

    scene = make_sample(seed, kind="country", num_dates=1, cloudy=False, size=size).scene
    with torch.inference_mode():
        encoded = encode_scene(predictor.model, predictor.processor.image_processor.prepare_scene(scene))
    return scene, encoded, predictor.processor.prepare_prompt(predictor.processor.describe(scene), QUESTIONS[0])


def floor_of(predictor: TerraScope) -> Callable[[], object]:
    """Every matrix of the language model times one vector, once: what one token cannot do without."""
    import torch

    language = predictor.model.vlm.model.language_model
    matrices = [m.weight for m in language.modules() if isinstance(m, torch.nn.Linear)]
    matrices.append(predictor.model.vlm.lm_head.weight)
    vectors = {m.shape[1]: torch.randn(m.shape[1], dtype=m.dtype, device=m.device) for m in matrices}

    @torch.inference_mode()
    def multiply() -> None:
        for matrix in matrices:
            torch.mv(matrix, vectors[matrix.shape[1]])

    return multiply


def measure_token(predictor: TerraScope, num_tokens: int, repeats: int) -> dict[str, float]:
    """Milliseconds of a token: the floor, ours, the library's modules in our loop, and its `generate()`."""
    import torch

    from terrascope.model.encoding import embed_prompt
    from terrascope.model.engine.engine import Engine
    from terrascope.model.engine.passes import LibraryPass
    from terrascope.model.generation import reasoning

    network, processor = predictor.model, predictor.processor
    _, encoded, prompt = prepare(predictor, SCENE_SEED)
    ids = filler(predictor, num_tokens)
    engines = (Engine(network), Engine(network, language=LibraryPass(network)))

    def decode(engine: Engine, num: int) -> object:
        begin = partial(reasoning, network, processor, encoded, prompt, forced_ids=ids[:num])
        return token_by_token(lambda: engine.run(begin))

    @torch.inference_mode()
    def theirs(num: int) -> object:
        embeddings = embed_prompt(network, prompt, encoded.context)[None]
        return network.vlm.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.int64, device=embeddings.device),
            max_new_tokens=num + 1,
            min_new_tokens=num + 1,
            do_sample=False,
            pad_token_id=processor.tokenizer.eos_token_id,
        )

    multiply = floor_of(predictor)
    actions: list[Callable[[], object]] = [lambda: [multiply() for _ in range(num_tokens)]]
    for run in (partial(decode, engines[0]), partial(decode, engines[1]), theirs):
        actions += [partial(run, num_tokens), partial(run, 0)]
    times = time_alternately(actions, repeats)
    per_token = [statistics.median(times[0]) / num_tokens]
    for place in (1, 3, 5):
        differences = [long - short for long, short in zip(times[place], times[place + 1], strict=True)]
        per_token.append(statistics.median(differences) / num_tokens)
    return dict(zip(("floor_ms", "ours_ms", "library_ms", "generate_ms"), per_token, strict=True))


def measure_batches(predictor: TerraScope, sizes: Sequence[int], num_tokens: int, repeats: int) -> dict[str, float]:
    """Tokens a second with several reasonings at once, their prompts included."""
    from terrascope.model.engine.engine import Engine
    from terrascope.model.generation import reasoning

    network, processor = predictor.model, predictor.processor
    _, encoded, prompt = prepare(predictor, SCENE_SEED)
    ids = filler(predictor, num_tokens)
    engine = Engine(network, max_rows=max(sizes))

    def run(size: int) -> object:
        begin = partial(reasoning, network, processor, encoded, prompt, forced_ids=ids)
        return token_by_token(lambda: [ticket.result() for ticket in engine.run_all([begin] * size)])

    times = time_alternately([partial(run, size) for size in sizes], repeats)
    return {
        f"batch_{size}_tokens_per_s": 1000 * size * num_tokens / statistics.median(ms)
        for size, ms in zip(sizes, times, strict=True)
    }


def measure_grounding(predictor: TerraScope, repeats: int) -> dict[str, float]:
    """Milliseconds of a text with three masks; of the same passes of the language model alone; of its masks alone."""
    import torch

    from terrascope.model.drawing import ground_all
    from terrascope.model.engine.engine import Engine
    from terrascope.model.engine.requests import Feed, Ground, Prefill
    from terrascope.model.generation import reasoning, shared_ids

    network, processor = predictor.model, predictor.processor
    _, encoded, prompt = prepare(predictor, SCENE_SEED)
    ids = processor.tokenizer(MASKED, add_special_tokens=False)["input_ids"]
    engine = Engine(network)
    begin = partial(reasoning, network, processor, encoded, prompt, forced_ids=ids)
    record = engine.run(partial(begin, keep_record=True)).record
    assert record is not None
    first, *pieces = record.embeddings
    positions = network.prompt_positions(prompt.input_ids.to(network.device))[..., 0, :]

    def passes() -> Program[None]:
        yield Prefill(first, positions, encoded, shared_ids(prompt))
        for piece in pieces:
            logits, _ = yield Feed(piece)
            int(logits.argmax())

    @torch.inference_mode()
    def masks() -> object:
        return [ground_all(network, [Ground(encoded, 0, state)]) for state in record.seg_states]

    actions = [lambda: token_by_token(lambda: engine.run(begin)), lambda: engine.run(passes), masks]
    whole, alone, drawn = (statistics.median(ms) for ms in time_alternately(actions, repeats))
    return {
        "num_masks": float(len(record.seg_states)),
        "num_injected": float(sum(len(one) for one in record.injected)),
        "grounded_ms": whole,
        "passes_ms": alone,
        "masks_ms": drawn,
        "overhead": (whole - drawn) / alone - 1,
    }


def measure_sharing(predictor: TerraScope, repeats: int) -> dict[str, float]:
    """Milliseconds of three questions about one scene, and of one question about each of three scenes."""
    from terrascope.predictor import Ask

    scenes = [prepare(predictor, SCENE_SEED + number)[0] for number in range(3)]

    def all_of(chosen: Sequence[Any], question: str) -> object:
        return list(predictor.ask_many(Ask(scene=scene, question=question) for scene in chosen))

    actions: list[Callable[[], object]] = []
    for question in QUESTIONS:
        actions += [partial(all_of, [scenes[0]] * 3, question), partial(all_of, scenes, question)]
    times = [statistics.median(ms) for ms in time_alternately(actions, repeats)]
    return {"one_scene_ms": sum(times[::2]), "three_scenes_ms": sum(times[1::2])}


def measure_guessing(predictor: TerraScope, num_scenes: int, repeats: int) -> dict[str, float]:
    """Milliseconds of a question, one at a time, without and with guesses by phrases, and how many texts are the same.

    The phrases come from the same questions about as many other scenes.
    """
    from terrascope.model import GenerationSettings
    from terrascope.model.drafting import Phrases

    phrases = Phrases()
    scenes = [prepare(predictor, SCENE_SEED + number)[0] for number in range(2 * num_scenes)]
    texts: dict[bool, list[str]] = {}

    def ask(guessing: bool) -> None:
        settings = GenerationSettings(phrases=phrases if guessing else None)
        texts[guessing] = [
            predictor.ask(scene, question, settings=settings).reasoning
            for scene in scenes[num_scenes:]
            for question in QUESTIONS
        ]

    for scene in scenes[:num_scenes]:
        for question in QUESTIONS:
            predictor.ask(scene, question, settings=GenerationSettings(phrases=phrases))
    plain, guessed = (
        statistics.median(ms) for ms in time_alternately([partial(ask, False), partial(ask, True)], repeats)
    )
    return {
        "plain_ms": plain / len(texts[False]),
        "guessed_ms": guessed / len(texts[True]),
        "num_texts": float(len(texts[False])),
        "num_same": float(sum(one == other for one, other in zip(texts[False], texts[True], strict=True))),
    }


def filler(predictor: TerraScope, num_tokens: int) -> list[int]:
    """So many token ids of plain text."""
    ids = predictor.processor.tokenizer(FILLER * num_tokens, add_special_tokens=False)["input_ids"]
    return list(ids[:num_tokens])


def describe(measured: dict[str, float]) -> str:
    """The figures as lines for people."""
    m = measured
    batches = ", ".join(f"{k.split('_')[1]}: {v:,.0f} tokens/s" for k, v in m.items() if k.startswith("batch_"))
    one, three = m["one_scene_ms"] / 3, m["three_scenes_ms"] / 3
    lines = [
        f"a token          {m['ours_ms']:.2f} ms, {m['ours_ms'] / m['floor_ms']:.2f} times the floor of "
        f"{m['floor_ms']:.2f} ms; by the library's modules {m['library_ms']:.2f} ms, by generate() "
        f"{m['generate_ms']:.2f} ms ({m['generate_ms'] / m['ours_ms']:.2f} times ours)",
        f"batches          {batches}",
        f"grounding        {m['num_masks']:.0f} masks, {m['num_injected']:.0f} tokens fed back: "
        f"{m['grounded_ms']:.1f} ms, of which the mask decoder {m['masks_ms']:.1f}; the same passes without it "
        f"{m['passes_ms']:.1f} ms; overhead beside the mask decoder {100 * m['overhead']:.1f} %",
        f"guessing         a question {m['guessed_ms']:.0f} ms, without {m['plain_ms']:.0f} ms "
        f"({m['plain_ms'] / m['guessed_ms']:.2f} times); {m['num_same']:.0f} of {m['num_texts']:.0f} texts the same",
        f"a question       of three about one scene {one:.0f} ms, about three scenes {three:.0f} ms "
        f"({three / one:.2f} times)",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="nano, a folder, or a repository of the hub")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", help="float32, bfloat16, float16")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on a CPU")
    parser.add_argument("--tokens", type=int, default=128, help="tokens that are decoded each time")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--scenes", type=int, default=6, help="that are asked with and without guesses")
    parser.add_argument("--repeats", type=int, default=7, help="rounds, after one that does not count")
    parser.add_argument("--out", type=Path, help="also write the numbers there as JSON")
    arguments = parser.parse_args()
    import torch

    from terrascope.model import TerraScope

    torch.set_num_threads(arguments.threads)
    predictor = TerraScope.from_pretrained(arguments.model, device=arguments.device, dtype=arguments.dtype)
    print(
        f"{arguments.model} in {str(predictor.model.dtype).removeprefix('torch.')} on {predictor.model.device}; "
        f"{cpu_name()}, {os.cpu_count()} cores, {arguments.threads} threads; torch {torch.__version__}"
    )
    measured = {
        **measure_token(predictor, arguments.tokens, arguments.repeats),
        **measure_batches(predictor, arguments.batches, arguments.tokens, arguments.repeats),
        **measure_grounding(predictor, arguments.repeats),
        **measure_sharing(predictor, arguments.repeats),
        **measure_guessing(predictor, arguments.scenes, arguments.repeats),
    }
    print(describe(measured))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
