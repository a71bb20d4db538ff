"use strict";
(() => {
  const PAGE = 100, WEEK = 7 * 86400, MONDAY = 3 * 86400, DRY_RUN = 32, TOP = 8, MOST_PEOPLE = 2000;
  const byId = (id) => document.getElementById(id);
  const { now, columns } = JSON.parse(byId("keys").textContent);
  const size = columns.id.length;
  const text = (name, row) => columns[name].texts[columns[name].rows[row]];
  const element = (tag, content, className) => {
    const made = document.createElement(tag);
    if (content) made.textContent = content;
    if (className) made.className = className;
    return made;
  };

  // ---- times ----

  const iso = (seconds) => new Date(seconds * 1000).toISOString();
  const day = (seconds) => iso(seconds).slice(0, 10);
  const minute = (seconds) => iso(seconds).slice(0, 16).replace("T", " ");
  const second = (seconds) => iso(seconds).slice(0, 19) + "Z";
  const weekOf = (seconds) => Math.floor((seconds + MONDAY) / WEEK) * WEEK - MONDAY;
  const ago = (seconds) => {
    const days = Math.floor((now - seconds) / 86400);
    return days < 0 ? "" : days === 0 ? "today" : days === 1 ? "yesterday" : `${days} days ago`;
  };
  const endOf = (row) => {
    const end = columns.expires[row];
    return end ? `${end <= now ? "ended" : "until"} ${day(end)}` : "";
  };

  // ---- what is shown: a state that the address has, too ----

  const FIELDS = ["q", "status", "verdict", "account", "service", "person"];
  const state = { q: "", status: "", verdict: "", account: "", service: "", person: "", week: "", only: "", sort: "created", down: "1" };
  const initial = { ...state };
  const readAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name in state) state[name] = given.get(name) ?? initial[name];
    if (!byId("table").querySelector(`[data-sort="${CSS.escape(state.sort)}"]`)) state.sort = initial.sort;
  };
  const writeAddress = () => {
    const changed = new URLSearchParams();
    for (const name in state) if (state[name] !== initial[name]) changed.set(name, state[name]);
    history.replaceState(null, "", "#" + changed);
  };

  /** Which of a column's texts are wanted, by number; null: all. */
  const wantedTexts = (name, wanted, matches) => wanted ? columns[name].texts.map(matches) : null;
  const isExactly = (wanted) => (found) => found === wanted;
  const hasPart = (wanted) => (found) => found.toLowerCase().includes(wanted);
  const SEARCHED = ["user", "account", "service", "person", "capacity", "principal", "address", "agent", "status", "verdict",
    "violation", "lifetime", "outcome"];

  /** Tests that a row has to pass. */
  const tests = () => {
    const passes = [];
    for (const name of ["status", "verdict", "account", "service", "person"]) {
      const isKnown = name !== "person" || columns[name].texts.includes(state[name]);
      const wanted = wantedTexts(name, state[name], isKnown ? isExactly(state[name]) : hasPart(state[name].toLowerCase()));
      if (wanted) passes.push((row) => wanted[columns[name].rows[row]]);
    }
    if (state.week) {
      const from = Date.parse(state.week) / 1000;
      passes.push((row) => columns.created[row] >= from && columns.created[row] < from + WEEK);
    }
    if (state.only) passes.push((row) => columns.flags[row] & state.only);
    for (const word of state.q.toLowerCase().split(/\s+/).filter(Boolean)) {
      const id = word.toUpperCase();
      const found = SEARCHED.map((name) => [columns[name].rows, wantedTexts(name, word, hasPart(word))])
        .filter(([, wanted]) => wanted.some(Boolean));
      passes.push((row) => columns.id[row].toUpperCase().includes(id) || found.some(([rows, wanted]) => wanted[rows[row]]));
    }
    return passes;
  };

  const ORDERED = ["status", "verdict"];
  /** A number for each row, by which it is sorted. */
  const ranks = (name) => {
    if (name === "created") return columns.created;
    if (name === "lifetime") {
      return columns.expires.map((end, row) => end === null ? -1 : end === 0 ? Infinity : end - columns.created[row]);
    }
    const { texts, rows } = columns[name];
    if (ORDERED.includes(name)) return rows;
    const order = texts.map((_, number) => number).sort((a, b) => texts[a] < texts[b] ? -1 : 1);
    const rank = new Array(texts.length);
    order.forEach((number, place) => { rank[number] = place; });
    return rows.map((number) => rank[number]);
  };

  let shown = [], rendered = 0;
  const select = () => {
    const passes = tests();
    shown = [];
    for (let row = 0; row < size; row++) if (passes.every((pass) => pass(row))) shown.push(row);
    // They come in this order.
    if (state.sort !== "created" || !state.down) {
      const rank = ranks(state.sort), sign = state.down ? -1 : 1;
      shown.sort((a, b) => rank[a] === rank[b] ? a - b : sign * (rank[a] < rank[b] ? -1 : 1));
    }
    showTable();
    showPanels();
    showState();
  };

  // ---- the table ----

  const template = byId("row").content.firstElementChild;
  const badge = (cell, words, note) => {
    const kind = { "Not known": "unknown", "Not assessed": "assessed" }[words] ?? words.toLowerCase();
    cell.firstChild.textContent = words;
    cell.firstChild.classList.add(kind);
    cell.lastChild.textContent = note;
  };
  const lines = (cell, first, second) => {
    cell.firstChild.textContent = first;
    cell.lastChild.textContent = second;
  };
  const line = (row) => {
    const made = template.cloneNode(true), cells = made.children, flags = columns.flags[row];
    made.dataset.row = row;
    if (flags & 1) made.className = "bad";
    cells[0].firstChild.setAttribute("aria-label", `Details of ${columns.id[row]}`);
    badge(cells[1], text("status", row), flags & DRY_RUN ? "dry run" : "");
    badge(cells[2], text("verdict", row), text("violation", row));
    lines(cells[3], text("lifetime", row), endOf(row));
    lines(cells[4], columns.id[row], text("user", row));
    lines(cells[5], text("account", row), text("service", row));
    lines(cells[6], text("person", row), text("capacity", row));
    lines(cells[7], minute(columns.created[row]), ago(columns.created[row]));
    cells[8].firstChild.textContent = text("outcome", row);
    lines(cells[9], text("address", row), text("agent", row));
    return made;
  };
  const renderMore = (count) => {
    const part = document.createDocumentFragment();
    const end = Math.min(shown.length, rendered + count);
    for (; rendered < end; rendered++) part.append(line(shown[rendered]));
    byId("rows").append(part);
    byId("more").hidden = rendered === shown.length;
  };
  const showTable = () => {
    byId("rows").replaceChildren();
    rendered = 0;
    renderMore(PAGE);
    byId("none").hidden = shown.length > 0;
    byId("table").hidden = shown.length === 0;
    const number = (count) => count.toLocaleString("en");
    byId("count").textContent = shown.length === size ? keys(size) : `${number(shown.length)} of ${keys(size)}`;
    byId("csv").disabled = shown.length === 0;
    for (const head of document.querySelectorAll("th[data-sort]")) {
      if (head.dataset.sort === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  };

  // ---- the details of a row ----

  let details = null;
  const detailsOf = (row) => {
    details ??= JSON.parse(byId("details").textContent);
    const expires = columns.expires[row];
    const known = [columns.id[row], text("account", row), expires ? second(expires) : "", second(columns.created[row]), text("user", row)];
    const expand = (number) => details.texts[number].replace(/[\u0001-\u0005]/g, (mark) => known[mark.charCodeAt(0) - 1]);
    const [reason, advice, commands, facts, history, event, times] = details.rows[row];
    return { reason: expand(reason), advice: advice.map(expand), commands: commands.map(expand), facts: facts.map(expand),
      history, event, times, expand };
  };
  const copy = async (code, button) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
      getSelection().removeAllRanges();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };
  /** A sentence; what stands in backticks is a command. */
  const sentence = (words) => {
    const item = element("li");
    words.split("`").forEach((part, place) => {
      if (place % 2 === 0) return item.append(part.trim() === "." ? "" : part.replace(/^, /, ""));
      const code = element("code", part), button = element("button", "Copy"), command = element("div", "", "command");
      button.type = "button";
      button.setAttribute("aria-label", `Copy: ${part}`);
      button.addEventListener("click", () => copy(code, button));
      command.append(code, button);
      item.append(command);
    });
    return item;
  };
  const section = (title, ...content) => {
    const made = element("section");
    made.append(element("h3", title), ...content);
    return made;
  };
  const list = (items, className) => {
    const made = element("ul", "", className);
    made.append(...items);
    return made;
  };
  const factsOf = (row, { facts, event, times }) => {
    const created = columns.created[row], expires = columns.expires[row], limit = text("limit", row);
    const names = ["Last seen", "First assessed", "Last changed", "Acted upon", "To be deleted after", "Pending since"];
    const pairs = [["Expires", expires ? second(expires) : expires === 0 ? "Never" : "Not known"],
      ["Limit", limit && (limit === "0" ? "No long-term key is allowed" : `${limit} days`)], ["Created", second(created)],
      ["Created by", text("principal", row)], ["From", text("address", row)], ["With", text("agent", row)]];
    for (let place = 0; place < facts.length; place += 2) pairs.push([facts[place], facts[place + 1]]);
    times.forEach((time, place) => pairs.push([names[place], time === null ? "" : second(created + time)]));
    pairs.push(["CloudTrail event", event]);
    const made = element("dl");
    for (const [name, value] of pairs) if (value) made.append(element("dt", name), element("dd", value));
    return made;
  };
  const historyOf = (row, { history, expand }) => {
    const items = [];
    for (let place = 0; place < history.length; place += 3) {
      const item = element("li", expand(history[place + 1]));
      item.prepend(element("time", second(columns.created[row] + history[place])));
      item.append(element("small", expand(history[place + 2])));
      items.push(item);
    }
    return list(items, "history");
  };
  const openRow = (row) => {
    const known = detailsOf(row), made = element("tr", "", "detail"), cell = element("td"), grid = element("div", "", "columns");
    made.setAttribute("role", "row");
    cell.setAttribute("role", "cell");
    cell.colSpan = 9;
    const first = element("div"), other = element("div");
    first.append(section("Why", element("p", known.reason)));
    if (known.advice.length) first.append(section("What to do", list(known.advice.map(sentence))));
    first.append(section("Commands", list(known.commands.map(sentence))));
    if (known.history.length) other.append(section("History (UTC)", historyOf(row, known)));
    other.append(section("Facts", factsOf(row, known)));
    grid.append(first, other);
    cell.append(grid);
    made.append(cell, element("td", "", "wide"));
    return made;
  };
  const toggle = (line) => {
    const button = line.querySelector("td.open button"), isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) line.nextElementSibling.remove();
    else line.after(openRow(Number(line.dataset.row)));
  };

  // ---- by person, account and week ----

  const counted = (name) => {
    const { texts, rows } = columns[name], all = new Uint32Array(texts.length), bad = new Uint32Array(texts.length);
    const noncompliant = columns.verdict.texts.indexOf("Noncompliant");
    for (const row of shown) {
      all[rows[row]]++;
      if (columns.verdict.rows[row] === noncompliant) bad[rows[row]]++;
    }
    return texts.map((found, number) => ({ text: found, all: all[number], bad: bad[number] })).filter((one) => one.all);
  };
  const keys = (count) => count === 1 ? "1 key" : `${count.toLocaleString("en")} keys`;
  const setFilter = (name, value) => { state[name] = state[name] === value ? "" : value; select(); };
  const ranking = (title, name) => {
    const all = counted(name).sort((a, b) => b.bad - a.bad || b.all - a.all || (a.text < b.text ? -1 : 1));
    if (!all.length) return [];
    const most = Math.max(...all.slice(0, TOP).map((one) => one.all));
    const items = all.slice(0, TOP).map((one) => {
      const item = element("li"), button = element("button"), bar = element("span", "", "bar"), count = element("span", "", "count");
      button.type = "button";
      button.setAttribute("aria-pressed", String(state[name] === one.text));
      if (one.bad) count.append(element("b", `${one.bad.toLocaleString("en")} noncompliant`), " of ");
      count.append(keys(one.all));
      for (const part of [one.bad, one.all - one.bad]) {
        const mark = element("i");
        mark.style.width = `${part / most * 100}%`;
        bar.append(mark);
      }
      button.append(element("span", one.text), count, bar);
      button.firstChild.title = one.text;
      button.addEventListener("click", () => setFilter(name, one.text));
      item.append(button);
      return item;
    });
    const made = element("section"), more = all.length - items.length;
    made.append(element("h2", title), list(items, "ranks"));
    if (more > 0) made.append(element("p", `And ${more.toLocaleString("en")} more.`, "legend"));
    return [made];
  };
  const weekly = () => {
    const weeks = new Map(), noncompliant = columns.verdict.texts.indexOf("Noncompliant");
    for (const row of shown) {
      const week = weekOf(columns.created[row]), count = weeks.get(week) ?? { all: 0, bad: 0 };
      count.all++;
      if (columns.verdict.rows[row] === noncompliant) count.bad++;
      weeks.set(week, count);
    }
    if (!weeks.size) return [];
    const found = [...weeks.keys()], first = Math.min(...found), last = Math.max(...found);
    const most = Math.max(...[...weeks.values()].map((one) => one.all));
    const made = element("section"), bars = element("div", "", "weeks"), axis = element("div", "", "axis");
    for (let week = first; week <= last; week += WEEK) {
      const { all, bad } = weeks.get(week) ?? { all: 0, bad: 0 }, button = element("button");
      button.type = "button";
      button.title = `Week of ${day(week)}: ${keys(all)}, ${bad} noncompliant`;
      button.setAttribute("aria-label", button.title);
      button.setAttribute("aria-pressed", String(state.week === day(week)));
      for (const [part, className] of [[all - bad, ""], [bad, "red"]]) {
        const mark = element("i", "", className);
        mark.style.height = `${part / most * 100}%`;
        button.append(mark);
      }
      button.disabled = all === 0;
      button.addEventListener("click", () => setFilter("week", day(week)));
      bars.append(button);
    }
    // Few weeks are no wide blocks.
    bars.style.maxWidth = axis.style.maxWidth = `${((last - first) / WEEK + 1) * 5}rem`;
    axis.append(element("span", day(first)));
    if (last > first) axis.append(element("span", day(last)));
    made.append(element("h2", "By week of creation"), bars, axis,
      element("p", `At most ${keys(most)} in a week. Red, at the bottom: noncompliant.`, "legend"));
    return [made];
  };
  const showPanels = () => byId("panels").replaceChildren(
    ...ranking("By person", "person"), ...ranking("By account", "account"), ...weekly());

  // ---- filters ----

  /** A button that ends a filter which has no field. */
  const chip = (name, words) => {
    if (!words) return [];
    const made = element("button", `${words} \u2715`);
    made.type = "button";
    made.setAttribute("aria-label", `Remove the filter: ${words}`);
    made.addEventListener("click", () => setFilter(name, state[name]));
    return [made];
  };
  const showState = () => {
    for (const name of FIELDS) if (byId(name).value !== state[name]) byId(name).value = state[name];
    for (const tile of document.querySelectorAll(".tile")) tile.setAttribute("aria-pressed", String(tile.dataset.flag === state.only));
    const tile = document.querySelector(`.tile[data-flag="${CSS.escape(state.only)}"] strong`);
    byId("chips").replaceChildren(
      ...chip("week", state.week && `Week of ${state.week}`), ...chip("only", tile && tile.textContent));
    byId("clear").disabled = [...FIELDS, "week", "only"].every((name) => !state[name]);
    writeAddress();
  };
  const fill = (name, into, most) => {
    const counts = new Uint32Array(columns[name].texts.length);
    for (const number of columns[name].rows) counts[number]++;
    const known = columns[name].texts.map((found, number) => [found, counts[number]]).filter(([, count]) => count);
    if (!ORDERED.includes(name)) known.sort((a, b) => b[1] - a[1]);
    byId(into).append(...known.slice(0, most).map(([found, count]) => {
      const option = element("option", into === name ? `${found} (${count.toLocaleString("en")})` : "");
      option.value = found;
      return option;
    }));
  };

  // ---- CSV: what is shown, all of it ----

  const CSV = [["status", (row) => text("status", row)], ["dry_run", (row) => columns.flags[row] & DRY_RUN ? "true" : "false"],
    ["verdict", (row) => text("verdict", row)], ["violation", (row) => text("violation", row)],
    ["lifetime", (row) => text("lifetime", row)],
    ["expires_at", (row) => columns.expires[row] ? second(columns.expires[row]) : ""], ["credential_id", (row) => columns.id[row]],
    ["user", (row) => text("user", row)], ["account", (row) => text("account", row)], ["service", (row) => text("service", row)],
    ["created_by", (row) => text("person", row)], ["as", (row) => text("capacity", row)],
    ["actor", (row) => text("principal", row)], ["created_at", (row) => second(columns.created[row])],
    ["outcome", (row) => text("outcome", row)], ["source_ip", (row) => text("address", row)], ["user_agent", (row) => text("agent", row)]];
  /** A spreadsheet would take some texts for formulas: they get an apostrophe in front, as in the other formats. */
  const cell = (found) => `"${(/^\s*[=+\-@＝＋－＠]/.test(found) ? "'" + found : found).replaceAll('"', '""')}"`;
  const saveCsv = () => {
    const rows = [CSV.map(([name]) => cell(name)), ...shown.map((row) => CSV.map(([, of]) => cell(of(row))))];
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([rows.map((row) => row.join(",") + "\r\n").join("")], { type: "text/csv" }));
    link.download = "bedrock-keys.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  // ---- what people do ----

  const listen = () => {
    let waiting = 0;
    for (const name of FIELDS) {
      byId(name).addEventListener("input", () => {
        state[name] = byId(name).value;
        clearTimeout(waiting);
        waiting = setTimeout(select, size > 5000 ? 150 : 0);
      });
    }
    for (const tile of document.querySelectorAll(".tile")) {
      tile.addEventListener("click", () => {
        setFilter("only", tile.dataset.flag);
        byId("keys-title").scrollIntoView({ block: "start" });
      });
    }
    for (const head of document.querySelectorAll("th[data-sort]")) {
      head.firstChild.addEventListener("click", () => {
        const { sort } = head.dataset;
        state.down = state.sort === sort ? (state.down ? "" : "1") : sort === "created" || sort === "lifetime" ? "1" : "";
        state.sort = sort;
        select();
      });
    }
    byId("rows").addEventListener("click", (event) => {
      const line = event.target.closest("tr[data-row]");
      if (line && (event.target.closest("button") || getSelection().isCollapsed)) toggle(line);
    });
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("clear").addEventListener("click", () => { Object.assign(state, initial, { sort: state.sort, down: state.down }); select(); });
    byId("csv").addEventListener("click", saveCsv);
    byId("more").addEventListener("click", () => renderMore(PAGE));
    new IntersectionObserver(([seen]) => { if (seen.isIntersecting) renderMore(PAGE); }, { rootMargin: "600px" }).observe(byId("more"));
    addEventListener("hashchange", () => { readAddress(); select(); });
    addEventListener("beforeprint", () => renderMore(Infinity));
    const form = byId("filters");
    new ResizeObserver(() => document.documentElement.style.setProperty("--top", `${form.offsetHeight}px`)).observe(form);
  };

  for (const name of ["status", "verdict", "account", "service"]) fill(name, name, 2000);
  fill("person", "people", MOST_PEOPLE);
  document.documentElement.dataset.ready = "yes";
  readAddress();
  listen();
  select();
  document.documentElement.dataset.ready = "shown";
})();
