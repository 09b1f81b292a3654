"""`bench`: arguments in, a command's function called, errors told in words. Imports stay light."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Sequence

from harness.errors import BenchError

RUNS = "runs"  # default folder of runs, in the working directory

EPILOG = "exit codes: 0 done; 1 measured and found wanting; 2 wrong use or input; 3 could not run"


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit code."""
    args = _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
    if args.command is None:
        _parser().print_help()
        return 2
    module, _, name = args.command.partition(":")
    try:
        code: int = getattr(importlib.import_module(module), name)(args)
        return code
    except BenchError as error:
        from bench.output import clean

        print(f"bench: {clean(str(error))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has seen enough
        return 0
    except OSError as error:  # of a file that no other words were found for
        from bench.output import clean

        print(f"bench: {clean(str(error))}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 3


def _joined(argv: Sequence[str]) -> list[str]:
    """'--budget', '-5m' as one word: argparse would take '-5m' for an option and not say what is wrong."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1].startswith("--") and "=" not in joined[-1] and re.match(r"-\.?\d", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measures what decides the speed and price of training, and reports it.",
        epilog=EPILOG,
    )
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    parser.set_defaults(command=None)
    _run(commands)
    _listing(commands)
    _collect(commands)
    _clusters(commands)
    _report(commands)
    _fit(commands)
    _add(commands, "doctor", "bench.doctor:doctor", "what each benchmark needs, what is here, how to get the rest")
    return parser


Commands = argparse._SubParsersAction  # argparse has no public name for it


def _add(commands: Commands[argparse.ArgumentParser], name: str, command: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, epilog=EPILOG)
    parser.set_defaults(command=command)
    parser.add_argument("--json", action="store_true", help="standard output is one JSON document")
    return parser


def _run(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "run", "bench.run:run", "measure a cluster and write its hardware report")
    add = parser.add_argument
    add("--cluster", default="local", metavar="NAME|FILE", help="definition; default: this machine as it is found")
    add("--suite", default="quick", help="quick, standard or full (default: quick)")
    add("--only", action="append", default=[], metavar="GLOB", help="benchmarks to run, e.g. 'gemm' or '*.all_*'")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter, e.g. size=1MiB,16MiB")
    add("--budget", metavar="TIME", help="time for measuring, e.g. 10m; 'none' to take as long as it takes")
    add("--launches", type=int, help="fresh starts of all ranks; default: the suite's")
    add("--seed", type=int, help="of the order of cells and of the data; default: drawn, and recorded")
    add("--out", default=RUNS, metavar="DIR", help=f"folder of runs (default: {RUNS})")
    add("--scratch", default="", metavar="DIR", help="folder on the disk to measure; default: the run's own folder")
    add("--resume", metavar="RUN", help="finish an earlier run; no finished cell is measured again")
    add("--simulate", action="store_true", help="model the declared cluster; every number is 'modelled'")
    add("--dry-run", action="store_true", help="print every cell, its argv and environment; measure nothing")
    add("--no-report", action="store_true", help="measure only; see `bench report`")


def _listing(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "list", "bench.listing:listing", "benchmarks, clusters, suites and runs there are")
    parser.add_argument("kind", nargs="?", choices=("benchmarks", "clusters", "suites", "runs"), help="default: all")
    parser.add_argument("--out", default=RUNS, metavar="DIR", help=f"folder of runs (default: {RUNS})")
    parser = _add(commands, "show", "bench.show:show", "the numbers of a run, cell by cell")
    parser.add_argument("run", help="a run's folder, or its name under --out")
    parser.add_argument("--out", default=RUNS, metavar="DIR", help=f"folder of runs (default: {RUNS})")
    parser.add_argument("--only", action="append", default=[], metavar="GLOB", help="benchmarks to show")


def _collect(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "collect", "bench.collect:collect", "logs of other tools, and device telemetry, as records")
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="logs, plain or packed; folders of them; - for standard input")
    add("--kind", metavar="KIND", help="what the logs are; default: found out, line by line")
    add("--kinds", action="store_true", help="list the kinds of logs that are read")
    add("--cluster", metavar="NAME|FILE", help="what the logs ran on; default: not declared, so no share of a peak")
    add("--out", default=RUNS, metavar="DIR", help=f"folder of runs (default: {RUNS})")
    add("--dry-run", action="store_true", help="read and show; store nothing")
    add("--telemetry", action="store_true", help="sample devices, host and network of this machine instead of files")
    add("--seconds", metavar="TIME", help="telemetry: for how long; default: until Ctrl-C")
    add("--period", default="100ms", metavar="TIME", help="telemetry: between two samples (default: 100ms)")
    add("--from", dest="urls", action="append", default=[], metavar="URL", help="telemetry: a Prometheus endpoint")


def _clusters(commands: Commands[argparse.ArgumentParser]) -> None:
    text = "cluster definitions: show one, validate a file, probe this machine"
    parser: argparse.ArgumentParser = commands.add_parser("clusters", help=text, description=text, epilog=EPILOG)
    kinds = parser.add_subparsers(metavar="ACTION", title="actions", required=True)
    show = _add(kinds, "show", "bench.clusters_command:show", "a definition, each figure with basis and source")
    show.add_argument("cluster", metavar="NAME|FILE")
    validate = _add(kinds, "validate", "bench.clusters_command:validate", "check a definition file, key by key")
    validate.add_argument("file")
    probe = _add(kinds, "probe", "bench.clusters_command:probe", "write a definition of this machine")
    probe.add_argument("--out", metavar="FILE", help="file to write; default: standard output")


def _report(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "report", "bench.report:report", "write the hardware report of a run")
    parser.add_argument("run", nargs="+", help="a run's folder, or its name under ./runs")
    parser.add_argument("--format", default="html,pdf", help="html, pdf, md, or several with commas")
    parser.add_argument("--out", metavar="DIR", help="folder to write to; default: the run's own")
    text = "mean time between interruptions of your job, e.g. 3h, for the advice on checkpoints; default: as published"
    parser.add_argument("--mtbf", metavar="TIME", help=text)


def _fit(commands: Commands[argparse.ArgumentParser]) -> None:
    text = "models fitted to what was measured: alphabeta (latency and bandwidth), cbs (critical batch size)"
    parser: argparse.ArgumentParser = commands.add_parser("fit", help=text, description=text, epilog=EPILOG)
    kinds = parser.add_subparsers(metavar="MODEL", title="models", required=True)
    text = "t = α + S·factor/β by protocol, n½, sizes to use"
    alphabeta = _add(kinds, "alphabeta", "bench.fit_alphabeta:alphabeta", text)
    alphabeta.add_argument("source", metavar="SOURCE", help="a run, or output of nccl-tests or rccl-tests (text, JSON)")
    cbs = _add(kinds, "cbs", "bench.fit_cbs:cbs", "S(B) = a + b/B: critical batch size from steps to a target loss")
    add = cbs.add_argument
    add("source", metavar="FILE", help="CSV, JSON or JSON lines with batch and steps or samples; or a run of e2e.cbs")
    add("--reference-batch", type=float, metavar="B0", help="linear scaling begins here; default: the smallest batch")
    add("--overhead", type=float, default=0.2, metavar="X", help="steps above linear scaling at b_star (default: 0.2)")
    _add_map(cbs)


def _add_map(parser: argparse.ArgumentParser) -> None:
    text = "what a column is, where its name does not tell, e.g. 'batch=Batch Size'; may be repeated"
    parser.add_argument("--map", action="append", default=[], metavar="ROLE=COLUMN", help=text)


if __name__ == "__main__":
    sys.exit(main())
