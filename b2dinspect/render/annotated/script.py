"""The script of annotated bytes: a byte and its field light each other up; search; a jump to an offset."""

from __future__ import annotations

SCRIPT = """
"use strict";
(() => {
  const regions = [...document.querySelectorAll(".region")];
  const finder = document.querySelector(".finder");
  if (!regions.length) return;
  document.documentElement.classList.add("scripted");
  for (const row of document.querySelectorAll(".fields tr[data-run]")) row.tabIndex = 0;

  function light(region, run, toward) {
    document.querySelectorAll(".lit:is(b, tr)").forEach(one => one.classList.remove("lit"));
    const lit = [...region.querySelectorAll(`[data-run="${run}"]`)];
    lit.forEach(one => one.classList.add("lit"));
    const other = lit.find(one => one.matches(toward));
    if (other) other.scrollIntoView({block: "nearest"});
  }
  function pick(event) {
    const picked = event.target.closest("[data-run]");
    if (picked) light(picked.closest(".region"), picked.dataset.run, picked.matches("b") ? "tr" : "b");
    return picked;
  }
  document.addEventListener("click", pick);
  document.addEventListener("keydown", event => {
    if (event.key === "Enter" && event.target.matches("tr[data-run]")) pick(event);
  });
  if (!finder) return;

  const say = text => { finder.querySelector("output").textContent = text; };
  const bytes = region => [...region.querySelectorAll(".bytes b")];
  let last = "", next = 0;

  function jump(text) {
    const wanted = Number(text);
    const isOffset = /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) && Number.isSafeInteger(wanted);
    if (!isOffset) return say("no offset: " + text);
    for (const region of regions) {
      const rows = [...region.querySelectorAll("[data-at]")].filter(one => Number(one.dataset.at) <= wanted);
      const row = rows[rows.length - 1];
      const size = Number(region.dataset.size);
      if (row && wanted < Number(region.dataset.offset) + size) {
        region.open = true;
        row.scrollIntoView({block: "nearest"});
        const cell = bytes(region).find(one => Number(one.dataset.byte) === wanted);
        if (cell) light(region, cell.dataset.run, "tr");
        return say("");
      }
    }
    say("not on this page: " + text);
  }
  function find(text) {
    const hex = text.trim().split(/\\s+/);
    const isHex = hex.every(one => /^[0-9a-f]{2}$/i.test(one));
    const wanted = isHex ? hex.map(one => parseInt(one, 16)) : [...new TextEncoder().encode(text)];
    if (text !== last) [last, next] = [text, 0];
    const hits = [];
    for (const region of regions) {
      const cells = bytes(region);
      const values = cells.map(one => parseInt(one.textContent, 16));
      for (let at = 0; at + wanted.length <= cells.length; at++) {
        if (wanted.every((one, i) => one === values[at + i] && Number(cells[at + i].dataset.byte)
            === Number(cells[at].dataset.byte) + i)) hits.push([region, cells.slice(at, at + wanted.length)]);
      }
    }
    document.querySelectorAll("b.found").forEach(one => one.classList.remove("found"));
    if (!hits.length) return say("not on this page");
    const [region, cells] = hits[next % hits.length];
    say(`${next % hits.length + 1} of ${hits.length}`);
    next++;
    region.open = true;
    cells.forEach(one => one.classList.add("found"));
    cells[0].scrollIntoView({block: "nearest"});
    light(region, cells[0].dataset.run, "tr");
  }
  finder.addEventListener("submit", event => {
    event.preventDefault();
    const found = new FormData(finder);
    if (found.get("to")) jump(found.get("to").trim());
    else if (found.get("find")) find(found.get("find"));
  });
})();
"""
ELEMENT = f"<script>{SCRIPT}</script>"
