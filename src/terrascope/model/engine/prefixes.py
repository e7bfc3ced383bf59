"""What the prompts of all questions about a scene begin with, computed once: kept for as long as the scene is."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from terrascope.model.encoding import EncodedScene
from terrascope.model.engine.cache import Prefix, Slot
from terrascope.model.engine.passes import LanguagePass
from terrascope.model.engine.requests import Prefill
from terrascope.model.memory import is_out_of_memory


class Prefixes:
    """Keys and values by scene and by the tokens that they are of."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[EncodedScene, list[tuple[tuple[int, ...], Prefix]]] = WeakKeyDictionary()

    def find(self, request: Prefill) -> Prefix | None:
        """What a prompt begins with, if another one has left it."""
        kept = self._kept.get(request.scene, ()) if request.scene is not None else ()
        return next((prefix for ids, prefix in kept if ids == request.shared_ids), None)

    def keep(self, request: Prefill, language: LanguagePass, slot: Slot) -> None:
        """Keep what a prompt that was fed begins with."""
        if request.scene is None or not request.shared_ids or self.find(request) is not None:
            return
        try:
            prefix = language.copy_prefix(slot, len(request.shared_ids))
        except (MemoryError, RuntimeError) as error:
            # The sequence itself stands: the next question pays for its prompt again.
            if not is_out_of_memory(error):
                raise
            return
        self._kept.setdefault(request.scene, []).append((request.shared_ids, prefix))

    def clear(self) -> None:
        """Forget all: the model is another."""
        self._kept.clear()
