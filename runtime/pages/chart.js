// Shows a chart's values nearest to the pointer; the page is complete without it.
for (const svg of document.querySelectorAll("svg[data-chart]")) {
  const lines = JSON.parse(svg.dataset.chart), figure = svg.parentNode;
  const xs = [...new Set(lines.flatMap((line) => line.points.map((point) => point[0])))];
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y1", svg.dataset.top);
  cursor.setAttribute("y2", svg.dataset.base);
  const tip = document.createElement("div");
  tip.className = "tip";
  svg.addEventListener("pointerleave", () => { cursor.remove(); tip.remove(); });
  svg.addEventListener("pointermove", (event) => {
    const area = svg.getBoundingClientRect(), outer = figure.getBoundingClientRect();
    const scale = area.width / svg.viewBox.baseVal.width;
    const at = (event.clientX - area.left) / scale;
    const x = xs.reduce((best, own) => (Math.abs(own - at) < Math.abs(best - at) ? own : best));
    tip.textContent = "";
    for (const line of lines) {
      const point = line.points.find((own) => own[0] === x);
      if (!point) continue;
      if (!tip.firstChild) {
        const head = document.createElement("b");
        head.textContent = `${point[2]} kimg`;
        tip.append(head);
      }
      const row = document.createElement("div"), dot = document.createElement("i");
      dot.className = `b${line.style}`;
      row.append(dot, `${line.label}: ${point[3]}`);
      tip.append(row);
    }
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    svg.append(cursor);
    figure.append(tip);
    const room = figure.clientWidth - tip.offsetWidth - 8;
    const place = area.left - outer.left + x * scale + 14;
    tip.style.left = `${Math.max(4, place > room ? place - tip.offsetWidth - 28 : place)}px`;
    tip.style.top = `${area.top - outer.top + 8}px`;
  });
}
