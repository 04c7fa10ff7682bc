// The pages work without this. It adds the reader's own time, looks again at what changes, and chooses all rows at once.
"use strict";

(function () {
  function localTimes(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      if (!isNaN(moment)) time.title = moment.toLocaleString();
    }
  }

  // -- looking again

  const live = document.getElementById("live");
  const box = document.getElementById("live-switch");
  const said = document.getElementById("live-status");
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

  function tell(before, after) {
    let fresh = 0;
    let changed = 0;
    for (const [key, text] of after) {
      if (!before.has(key)) fresh += 1;
      else if (before.get(key) !== text) changed += 1;
    }
    const parts = [];
    if (fresh) parts.push(fresh + " new");
    if (changed) parts.push(changed + " changed");
    say(parts.length ? parts.join(", ") : "Updated");
  }

  function say(text) {
    if (said.textContent !== text) said.textContent = text;
  }

  // What names an element across two looks: where a link leads, else its place among its kind.
  function nameOf(element) {
    const kind = element.tagName;
    const place = [...live.querySelectorAll(kind)].indexOf(element);
    return { kind, href: element.getAttribute("href"), place };
  }

  function named(name) {
    const all = [...live.querySelectorAll(name.kind)];
    return name.href === null ? all[name.place] : all.find((one) => one.getAttribute("href") === name.href);
  }

  function put(text) {
    const focused = document.activeElement;
    const name = live.contains(focused) ? nameOf(focused) : null;
    const open = [...live.querySelectorAll("details")].map((one) => one.open);
    const scrolled = [...live.querySelectorAll("pre")].map((one) => [one.scrollLeft, one.scrollTop]);
    const before = rows();
    live.innerHTML = text; // markup of our own server, which has escaped all that is not
    [...live.querySelectorAll("details")].forEach((one, place) => { one.open = Boolean(open[place]); });
    [...live.querySelectorAll("pre")].forEach((one, place) => {
      if (scrolled[place]) [one.scrollLeft, one.scrollTop] = scrolled[place];
    });
    const same = name && named(name);
    if (same) same.focus({ preventScroll: true });
    localTimes(live);
    tell(before, rows());
  }

  // Text that somebody is marking would be lost.
  function marking() {
    const marked = getSelection();
    return !marked.isCollapsed && live.contains(marked.anchorNode);
  }

  async function look() {
    timer = null;
    if (marking()) { next(); return; }
    try {
      const answer = await fetch(location.href, {
        headers: { "Taskq-Part": "live", "If-None-Match": mark || "", "Accept": "text/html" },
        cache: "no-store", redirect: "manual",
      });
      if (answer.type === "opaqueredirect" || answer.status === 401) { location.reload(); return; }
      if (answer.status === 200) {
        const text = await answer.text();
        if (!box.checked || marking()) { next(); return; }
        mark = answer.headers.get("ETag");
        if (mark) put(text); else { location.reload(); return; }
      } else if (answer.status !== 304) {
        throw new Error(String(answer.status));
      }
      failures = 0;
    } catch (error) {
      failures += 1;
      say("It cannot be reached now; trying again.");
    }
    next();
  }

  function next() {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (!live || !box.checked || document.hidden) return;
    const seconds = Number(live.dataset.every) * Math.min(2 ** failures, 12);
    timer = setTimeout(look, seconds * 1000);
  }

  if (live && live.dataset.every && box) {
    box.closest(".live-switch").hidden = false;
    box.addEventListener("change", next);
    document.addEventListener("visibilitychange", next);
    next();
  }

  // -- going on with what one request could not do

  for (const form of document.querySelectorAll("form[data-again]")) {
    const seconds = Number(form.dataset.again);
    const told = document.createElement("p");
    const stop = document.createElement("button");
    told.setAttribute("role", "status");
    told.append("It goes on by itself in " + seconds + " s. ");
    stop.type = "button";
    stop.textContent = "Stop";
    const submit = setTimeout(() => form.requestSubmit(), seconds * 1000);
    form.addEventListener("submit", () => clearTimeout(submit));
    stop.addEventListener("click", () => { clearTimeout(submit); told.textContent = "Stopped."; });
    told.append(stop);
    form.append(told);
  }

  // -- choosing

  for (const form of document.querySelectorAll("form[data-choosing]")) {
    const boxes = [...form.querySelectorAll("input[name='" + form.dataset.choosing + "']")];
    const label = document.createElement("label");
    const all = document.createElement("input");
    all.type = "checkbox";
    all.addEventListener("change", () => { for (const one of boxes) one.checked = all.checked; });
    form.addEventListener("change", () => {
      const chosen = boxes.filter((one) => one.checked).length;
      all.checked = chosen === boxes.length;
      all.indeterminate = chosen > 0 && chosen < boxes.length;
    });
    label.append(all, " Choose all that are shown");
    form.prepend(label);
  }

  localTimes(document);
})();
