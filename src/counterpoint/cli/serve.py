"""``counterpoint serve``: a vLLM server that a run samples from, started as a run needs it, in vLLM's own environment."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
from pathlib import Path
from typing import Annotated

import typer

from counterpoint.cli.shell import command, tell
from counterpoint.errors import CounterpointError

VARIABLE = "COUNTERPOINT_VLLM"
EVERY = ("0.0.0.0", "::")
"""Addresses that are every one that the machine has; to Python they are private."""
INSTALL = "python3 -m venv vllm; vllm/bin/pip install vllm"


@command
def serve(
    model: Annotated[str, typer.Argument(help="the folder that the run's --model names, or a bundled name")],
    more: Annotated[
        list[str] | None,
        typer.Argument(help="handed on to vllm serve, after --", show_default=False),
    ] = None,
    vllm: Annotated[
        str | None,
        typer.Option(
            help=f"vllm of its own environment, or that environment's folder; default: ${VARIABLE}, or vllm on the PATH",
            show_default=False,
        ),
    ] = None,
    lora_rank: Annotated[
        int, typer.Option(help="largest rank of the run's adapters; 0: the run trains every weight")
    ] = 64,
    name: Annotated[str, typer.Option(help="that the run calls the model by")] = "base",
    host: Annotated[str, typer.Option(help="address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="of that address")] = 8000,
    gpus: Annotated[int, typer.Option(help="that share the model")] = 1,
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="listen at an address that is neither loopback nor private")
    ] = False,
    show: Annotated[
        bool, typer.Option("--print", help="print the command instead of running it, for another machine")
    ] = False,
) -> None:
    """Start a vLLM server for --sampler vllm; it stays in the foreground until Ctrl-C."""
    from counterpoint.generation.engine import near
    from counterpoint.models.model_folders import find

    for option, value, least in (("--gpus", gpus, 1), ("--lora-rank", lora_rank, 0), ("--port", port, 1)):
        if value < least:
            raise CounterpointError(f"{option} {value}: expected {least} or more")
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if not anywhere and (host in EVERY or not near(host)):
        raise CounterpointError(
            f"--host {host}: whoever reaches a server whose weights can be replaced can replace them; give a loopback or private address, "
            "or --anywhere"
        )
    folder = find(model)
    if (folder / "adapter_config.json").is_file():
        raise CounterpointError(
            f"{folder} holds adapters, and vLLM serves whole models; give the folder that they stand on, or a merged one"
        )
    environment = _environment(lora_rank)
    line = [
        "serve", str(folder.absolute()), "--served-model-name", name, "--host", host, "--port", str(port),
        "--logprobs-mode", "processed_logprobs", "--generation-config", "vllm",
        *(["--enable-lora", "--max-lora-rank", str(_allowed(lora_rank))] if lora_rank else []),
        *(["--tensor-parallel-size", str(gpus)] if gpus > 1 else []), *(more or []),
    ]  # fmt: skip
    if show:
        words = [*(f"{key}={value}" for key, value in environment.items()), "vllm", *line]
        print(shlex.join(words))
        return
    program = _program(vllm)
    _require_free(host, port)
    rank = "" if lora_rank == 64 else f" --lora-rank {lora_rank}"
    away = "" if not anywhere else " --sampler.anywhere true"
    tell(
        f"for a run on it: --model {folder} --sampler vllm --sampler.url {url} --sampler.model {name}{rank}{away}"
    )
    os.execve(program, [program, *line], {**os.environ, **environment})


def _environment(lora_rank: int) -> dict[str, str]:
    """What lets weights be replaced: adapters alone, or everything, which takes vLLM's development mode."""
    way = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"} if lora_rank else {"VLLM_SERVER_DEV_MODE": "1"}
    return {**way, "VLLM_NO_USAGE_STATS": "1"}


def _allowed(rank: int) -> int:
    """The smallest of vLLM's limits that holds a rank."""
    limits = (8, 16, 32, 64, 128, 256, 320, 512)
    fitting = [each for each in limits if each >= rank]
    if not fitting:
        raise CounterpointError(f"--lora-rank {rank}: vLLM serves ranks up to {limits[-1]}")
    return fitting[0]


def _program(given: str | None) -> str:
    """The executable of vLLM.

    Raises:
        CounterpointError: there is none.
    """
    spec = given or os.environ.get(VARIABLE, "")
    candidates = [Path(spec), Path(spec) / "bin" / "vllm"] if spec else [Path(shutil.which("vllm") or "")]
    for each in candidates:
        if each.is_file() and os.access(each, os.X_OK):
            return str(each.absolute())
    where = f"{'--vllm' if given else VARIABLE} {spec} is no vllm" if spec else "no vllm is on the PATH"
    raise CounterpointError(
        f"{where}; it goes into an environment of its own, for it wants other versions of torch and transformers: {INSTALL}, then "
        "--vllm vllm/bin/vllm. --print shows the command for another machine"
    )


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CounterpointError(
                f"--host {host} --port {port}: {error.strerror}; give another --port"
            ) from None
