"use strict";
(() => {
  const PAGE = 100, PRINTED = 2000;
  const { texts, columns, rows } = JSON.parse(document.getElementById("keys").textContent);
  const value = (row, column) => {
    const found = row[column];
    if (found === null) return null;
    if (columns[column].sentences) return found.map((sentence) => texts[sentence]).join(" ");
    return columns[column].text ? texts[found] : found;
  };
  const shown = (row, column) => {
    const found = value(row, column);
    if (found === null) return columns[column].none;
    if (columns[column].words?.[found]) return columns[column].words[found];
    return columns[column].time ? new Date(found * 1000).toISOString().slice(0, 16).replace("T", " ") : String(found);
  };
  const find = document.getElementById("find"), verdict = document.getElementById("verdict");
  const body = document.getElementById("rows"), count = document.getElementById("count");
  const back = document.getElementById("back"), on = document.getElementById("on");
  const verdictColumn = columns.findIndex((column) => column.name === "verdict");
  let order = { column: 0, down: true }, from = 0, found = [];
  const searched = new Array(rows.length);

  const compare = (a, b) => {
    const x = value(a, order.column), y = value(b, order.column);
    if (x === y) return 0;
    if (x === null) return 1;
    if (y === null) return -1;
    return x < y ? -1 : 1;
  };
  const select = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = [];
    rows.forEach((row, index) => {
      if (verdict.value && value(row, verdictColumn) !== verdict.value) return;
      if (words.length) {
        searched[index] ??= columns.map((one, column) => one.sentences ? "" : shown(row, column)).join("\n").toLowerCase();
        if (!words.every((word) => searched[index].includes(word))) return;
      }
      found.push(row);
    });
    found.sort(order.down ? (a, b) => compare(b, a) : compare);
    from = 0;
    show(PAGE);
  };
  const show = (size) => {
    const page = document.createDocumentFragment();
    for (const row of found.slice(from, from + size)) {
      const line = document.createElement("tr");
      columns.forEach((_, column) => {
        const cell = document.createElement("td"), text = shown(row, column);
        if (column === verdictColumn) {
          const badge = document.createElement("span");
          badge.className = "badge " + text;
          badge.textContent = text;
          cell.append(badge);
        } else if (columns[column].sentences && row[column] !== null) {
          const details = document.createElement("details"), summary = document.createElement("summary");
          summary.textContent = "read";
          details.append(summary, text);
          cell.append(details);
        } else if (columns[column].long) {
          const clamped = document.createElement("div");
          clamped.textContent = clamped.title = text;
          cell.append(clamped);
        } else {
          cell.textContent = text;
        }
        line.append(cell);
      });
      page.append(line);
    }
    body.replaceChildren(page);
    const last = Math.min(from + size, found.length);
    count.textContent = found.length ? `${from + 1}–${last} of ${found.length} keys` : "no keys match";
    back.disabled = from === 0;
    on.disabled = last === found.length;
  };

  document.querySelectorAll("th").forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      order = { column, down: order.column === column ? !order.down : false };
      document.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      select();
    });
  });
  find.addEventListener("input", select);
  verdict.addEventListener("change", select);
  back.addEventListener("click", () => { from = Math.max(0, from - PAGE); show(PAGE); });
  on.addEventListener("click", () => { from += PAGE; show(PAGE); });
  addEventListener("beforeprint", () => { from = 0; show(PRINTED); });
  addEventListener("afterprint", () => show(PAGE));
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  select();
  document.documentElement.dataset.ready = "yes";
})();
