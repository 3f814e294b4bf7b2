"""A benchmark of the bundle: bars of images a second, beside latency and error."""

from __future__ import annotations

from segan.train.report.axis import number_text
from segan.train.report.markup import text
from segan.train.report.measured_files import Benchmark, BenchmarkRow


def draw_benchmark(benchmark: Benchmark) -> str:
    """The rows, fastest first within each batch size."""
    rows = sorted(benchmark.rows, key=lambda row: (row.batch, -row.images_per_s))
    machine, bundle = benchmark.machine, benchmark.bundle
    gpus = [str(gpu.get("name", "GPU")) for gpu in machine.gpu]
    where = " + ".join([machine.processor, *gpus])
    if machine.threads_used is not None:
        where += f", {machine.threads_used} threads"
    size = "" if bundle.resolution is None else f", {bundle.resolution}²"
    head = f"<p>{text(bundle.name)}{size}, on {text(where)}.</p>"
    if not rows:
        return f"{head}<p>Nothing could be measured there.</p>"
    fastest = max(row.images_per_s for row in rows)
    lines = "".join(_line(row, fastest) for row in rows)
    return (
        f'{head}<div class="scroll"><table class="benchmark"><thead><tr><th>backend</th>'
        '<th>precision</th><th class="number">batch</th><th>images/s</th>'
        '<th class="number">slowest – fastest</th><th class="number">p50 ms</th>'
        '<th class="number">p99 ms</th><th class="number">max error</th>'
        f'<th class="number">MiB</th></tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _line(row: BenchmarkRow, fastest: float) -> str:
    share = 100 * row.images_per_s / fastest if fastest > 0 else 0.0
    error = "same" if row.max_error == 0 else _shown(row.max_error, 2)
    cells = (
        f"{number_text(row.slowest, 3)} – {number_text(row.fastest, 3)}",
        _shown(row.p50_ms, 3),
        _shown(row.p99_ms, 3),
        error,
        _shown(row.peak_mib, 3),
    )
    return (
        f'<tr><th>{text(row.backend)}</th><td>{text(row.precision)}</td><td class="number">'
        f'{row.batch}</td><td class="rate"><i style="width:{share:.1f}%"></i>'
        f"<span>{number_text(row.images_per_s, 3)}</span></td>"
        + "".join(f'<td class="number">{text(cell)}</td>' for cell in cells)
        + "</tr>"
    )


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else number_text(value, digits)
