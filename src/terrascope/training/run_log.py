"""What a run tells while it goes on: `log.jsonl`, TensorBoard, and whoever watches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from terrascope.errors import OutputError
from terrascope.output import written_whole

Progress = Callable[[int, int, str], None]
"""Called with the steps done, all steps, and in a few words how it goes."""

LOG = "log.jsonl"
TENSORBOARD = "tensorboard"


class RunLog(TrainerCallback):
    """Writes every measurement of a run once, also where it goes on after a kill.

    Args:
        out: folder of the run.
        is_main: this process is the one that writes.
        progress: told of every step.
        tell: told how many steps there are, as they begin.
    """

    def __init__(
        self,
        out: Path,
        *,
        is_main: bool,
        progress: Progress | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.out, self.is_main, self.progress, self.tell = out, is_main, progress, tell
        self.said = "training"

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.is_main:
            return
        from torch.utils.tensorboard import SummaryWriter

        if self.tell is not None:
            num_epochs = state.max_steps * args.gradient_accumulation_steps / len(kwargs["train_dataloader"])
            steps, epochs = _counted(state.max_steps, "step"), _counted(num_epochs, "epoch")
            self.tell(f"{steps}, {epochs} of the samples")
        # Of what a killed run has logged after its last checkpoint, nothing stays: it is done again.
        with written_whole(self.out / LOG) as unfinished:
            unfinished.write_text("".join(map(_line, state.log_history)), encoding="utf-8")
        self.writer: Any = SummaryWriter(str(self.out / TENSORBOARD), purge_step=state.global_step + 1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if not self.is_main:
            return
        line = state.log_history[-1]
        try:
            with (self.out / LOG).open("a", encoding="utf-8") as file:
                file.write(_line(line))
        except OSError as error:
            raise OutputError(
                f"{self.out / LOG}: cannot be written ({error.strerror}); make room, and run it again to go on"
            ) from None
        for name, value in line.items():
            if name not in ("step", "epoch"):
                self.writer.add_scalar(name, value, line["step"])
        self.writer.flush()
        if "samples_per_s" in line:
            self.said = _describe(line)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.is_main and self.progress is not None:
            self.progress(state.global_step, state.max_steps, self.said)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.is_main:
            self.writer.close()


def _line(measured: dict[str, Any]) -> str:
    return json.dumps(measured) + "\n"


def _counted(num: float, what: str) -> str:
    text = f"{num:,.0f}" if num >= 100 or num == int(num) else f"{num:.3g}"
    return f"{text} {what}" if text == "1" else f"{text} {what}s"


def _describe(line: dict[str, float]) -> str:
    words = [
        f"loss {line['loss']:.3f}",
        f"{line['samples_per_s']:.2f} samples/s",
        f"{line['tokens_per_s']:,.0f} tokens/s",
    ]
    return ", ".join([*words, f"MFU {100 * line['mfu']:.0f} %"] if "mfu" in line else words)
