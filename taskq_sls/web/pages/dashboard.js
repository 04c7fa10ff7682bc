// The pages work without this script. It adds local times, updates the live part, and selects all rows at once.
"use strict";

(function () {
  function localTimes(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      if (!isNaN(moment)) time.title = moment.toLocaleString();
    }
  }

  // -- live updates

  const live = document.getElementById("live");
  const box = document.getElementById("live-switch");
  const statusLine = document.getElementById("live-status");
  let mark = live ? live.dataset.mark : null;
  let timer = null;
  let failures = 0;

  function rows() {
    const found = new Map();
    for (const row of live.querySelectorAll("tbody tr")) {
      const link = row.querySelector("a");
      const first = row.cells[0] ? row.cells[0].textContent : "";
      found.set(link ? link.href : first, row.textContent);
    }
    return found;
  }

  function announce(before, after) {
    let fresh = 0;
    let changed = 0;
    for (const [key, text] of after) {
      if (!before.has(key)) fresh += 1;
      else if (before.get(key) !== text) changed += 1;
    }
    const parts = [];
    if (fresh) parts.push(fresh + " new");
    if (changed) parts.push(changed + " changed");
    show(parts.length ? parts.join(", ") : "Updated");
  }

  function show(text) {
    if (statusLine.textContent !== text) statusLine.textContent = text;
  }

  // Identifies an element across two updates: a link by its address, others by their place among their kind.
  function nameOf(element) {
    const kind = element.tagName;
    const place = [...live.querySelectorAll(kind)].indexOf(element);
    return { kind, href: element.getAttribute("href"), place };
  }

  function named(name) {
    const all = [...live.querySelectorAll(name.kind)];
    return name.href === null ? all[name.place] : all.find((element) => element.getAttribute("href") === name.href);
  }

  function put(text) {
    const focused = document.activeElement;
    const name = live.contains(focused) ? nameOf(focused) : null;
    const open = [...live.querySelectorAll("details")].map((details) => details.open);
    const scrolled = [...live.querySelectorAll("pre")].map((block) => [block.scrollLeft, block.scrollTop]);
    const before = rows();
    live.innerHTML = text; // from our own server, which has escaped all values
    [...live.querySelectorAll("details")].forEach((details, place) => { details.open = Boolean(open[place]); });
    [...live.querySelectorAll("pre")].forEach((block, place) => {
      if (scrolled[place]) [block.scrollLeft, block.scrollTop] = scrolled[place];
    });
    const same = name && named(name);
    if (same) same.focus({ preventScroll: true });
    localTimes(live);
    announce(before, rows());
  }

  // An update would clear the reader's selection.
  function selecting() {
    const marked = getSelection();
    return !marked.isCollapsed && live.contains(marked.anchorNode);
  }

  async function update() {
    timer = null;
    if (selecting()) { next(); return; }
    try {
      const answer = await fetch(location.href, {
        headers: { "Taskq-Part": "live", "If-None-Match": mark || "", "Accept": "text/html" },
        cache: "no-store", redirect: "manual",
      });
      if (answer.type === "opaqueredirect" || answer.status === 401) { location.reload(); return; }
      if (answer.status === 200) {
        const text = await answer.text();
        if (!box.checked || selecting()) { next(); return; }
        mark = answer.headers.get("ETag");
        if (mark) put(text); else { location.reload(); return; }
      } else if (answer.status !== 304) {
        throw new Error(String(answer.status));
      }
      failures = 0;
    } catch (error) {
      failures += 1;
      show("The server cannot be reached; retrying.");
    }
    next();
  }

  function next() {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (!live || !box.checked || document.hidden) return;
    const seconds = Number(live.dataset.every) * Math.min(2 ** failures, 12);
    timer = setTimeout(update, seconds * 1000);
  }

  if (live && live.dataset.every && box) {
    box.closest(".live-switch").hidden = false;
    box.addEventListener("change", next);
    document.addEventListener("visibilitychange", next);
    next();
  }

  // -- continuing a redrive

  for (const form of document.querySelectorAll("form[data-again]")) {
    const seconds = Number(form.dataset.again);
    const note = document.createElement("p");
    const stop = document.createElement("button");
    note.setAttribute("role", "status");
    note.append("Continues in " + seconds + " s. ");
    stop.type = "button";
    stop.textContent = "Stop";
    const submit = setTimeout(() => form.requestSubmit(), seconds * 1000);
    form.addEventListener("submit", () => clearTimeout(submit));
    stop.addEventListener("click", () => { clearTimeout(submit); note.textContent = "Stopped."; });
    note.append(stop);
    form.append(note);
  }

  // -- selecting rows

  for (const form of document.querySelectorAll("form[data-select]")) {
    const boxes = [...form.querySelectorAll("input[name='" + form.dataset.select + "']")];
    const label = document.createElement("label");
    const all = document.createElement("input");
    all.type = "checkbox";
    all.addEventListener("change", () => { for (const each of boxes) each.checked = all.checked; });
    form.addEventListener("change", () => {
      const selected = boxes.filter((each) => each.checked).length;
      all.checked = selected === boxes.length;
      all.indeterminate = selected > 0 && selected < boxes.length;
    });
    label.append(all, " Select all shown");
    form.prepend(label);
  }

  localTimes(document);
})();
