"""A server with the oracle as a program: it prints its port and the folder that it holds, and is ended by a signal.

The oracle goes on once the file that is named as the argument exists.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from serve.told import StreamingOracle
from terrascope.serve.app import create_app
from terrascope.serve.listening import listen, server_of
from terrascope.serve.settings import ServeSettings


def main() -> None:
    oracle, sign = StreamingOracle(), Path(sys.argv[1])
    oracle.gate.clear()

    def watch() -> None:
        while not sign.exists():
            threading.Event().wait(0.02)
        oracle.gate.set()

    threading.Thread(target=watch, daemon=True).start()
    settings = ServeSettings(port=0, drain_s=float(sys.argv[2]))
    taken = listen(settings)
    app = create_app(oracle, settings)
    print(taken.getsockname()[1], app.state.service.uploads.parent, flush=True)
    server_of(app, settings).run(sockets=[taken])


if __name__ == "__main__":
    main()
